//! Which field of a type has which number, in the order of numbers.

use crate::schema::{Field, Schema, Type, TypeId, TypeRef};
use std::sync::OnceLock;

/// A built-in type as a protobuf message.
#[derive(Clone, Copy)]
pub(super) struct Message {
    pub ty: &'static Type,
    pub slots: &'static Slots,
    /// The places of the type's fields in the order of numbers, inner messages' fields where they stand.
    pub ranks: &'static [u16],
}

/// The fields of a message, sorted by number.
#[derive(Default)]
pub(super) struct Slots(Vec<(u16, Slot)>);

pub(super) enum Slot {
    /// A place in the type's `fields`.
    Field(u16),
    /// A message whose fields are the outer type's own in JSON.
    Inline(Slots),
}

impl Slots {
    pub fn iter(&self) -> std::slice::Iter<'_, (u16, Slot)> {
        self.0.iter()
    }

    pub fn get(&self, tag: u32) -> Option<&Slot> {
        self.0.binary_search_by(|(t, _)| u32::from(*t).cmp(&tag)).ok().map(|at| &self.0[at].1)
    }

    fn of(ty: &Type) -> Slots {
        let mut slots = Slots::default();
        for (at, field) in ty.fields.iter().enumerate().filter(|(_, f)| f.tag > 0) {
            slots.add(&field.inline, field, at as u16);
        }
        slots
    }

    fn rank(&self, next: &mut u16, ranks: &mut [u16]) {
        for (_, slot) in &self.0 {
            match slot {
                Slot::Inline(inner) => inner.rank(next, ranks),
                Slot::Field(at) => {
                    ranks[usize::from(*at)] = *next;
                    *next += 1;
                }
            }
        }
    }

    fn add(&mut self, outer: &[u8], field: &Field, at: u16) {
        let (tag, rest) = match outer {
            [tag, rest @ ..] if *tag > 0 => (u16::from(*tag), Some(rest)),
            _ => (field.tag, None),
        };
        let place = self.0.partition_point(|(t, _)| *t < tag);
        if self.0.get(place).is_none_or(|(t, _)| *t != tag) {
            let slot = if rest.is_some() { Slot::Inline(Slots::default()) } else { Slot::Field(at) };
            self.0.insert(place, (tag, slot));
        }
        if let (Some(rest), Slot::Inline(inner)) = (rest, &mut self.0[place].1) {
            inner.add(rest, field, at);
        }
    }
}

impl Message {
    /// `None` for a type that is not built in.
    pub fn of(ty: TypeRef<'_>) -> Option<Message> {
        let builtin = Schema::builtin();
        std::ptr::eq(ty.schema, builtin).then(|| builtin.id(&ty.name)).flatten().map(Message::at)
    }

    /// The built-in type at its place.
    pub fn at(id: TypeId) -> Message {
        static LAYOUTS: OnceLock<Vec<(Slots, Box<[u16]>)>> = OnceLock::new();
        let layout = |ty: TypeRef<'_>| {
            let (slots, mut ranks) = (Slots::of(ty.ty), vec![0; ty.ty.fields.len()]);
            slots.rank(&mut 0, &mut ranks);
            (slots, ranks.into_boxed_slice())
        };
        let layouts = LAYOUTS.get_or_init(|| Schema::builtin().types().map(layout).collect());
        let (slots, ranks) = &layouts[id as usize];
        Message { ty: Schema::builtin().at(id).ty, slots, ranks }
    }
}
