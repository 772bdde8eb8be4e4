//! Classes of characters in a regular expression.

use super::{BAD_RANGE, Parser, Wrong, one};
use std::collections::HashSet;
use std::sync::LazyLock;

const CLASSES: &[(&str, &str)] = &[
    ("\\d", "[0-9]"),
    ("\\D", "[^0-9]"),
    ("\\s", "[\\t\\n\\x0c\\r ]"),
    ("\\S", "[^\\t\\n\\x0c\\r ]"),
    ("\\w", "[0-9A-Za-z_]"),
    ("\\W", "[^0-9A-Za-z_]"),
];

const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// The categories and scripts that `\p{}` knows, in lower case and without what separates words.
pub(super) const PROPERTIES: &str = "\
    adlam ahom anatolianhieroglyphs any arabic armenian ascii assigned avestan balinese bamum bassavah batak \
    bengali bhaiksuki bopomofo brahmi braille buginese buhid c canadianaboriginal carian casedletter \
    caucasianalbanian cc cf chakma cham cherokee chorasmian closepunctuation cn cntrl co combiningmark common \
    connectorpunctuation control coptic cs cuneiform currencysymbol cypriot cyprominoan cyrillic dashpunctuation \
    decimalnumber deseret devanagari digit divesakuru dogra duployan egyptianhieroglyphs elbasan elymaic \
    enclosingmark ethiopic finalpunctuation format georgian glagolitic gothic grantha greek gujarati gunjalagondi \
    gurmukhi han hangul hanifirohingya hanunoo hatran hebrew hiragana imperialaramaic inherited initialpunctuation \
    inscriptionalpahlavi inscriptionalparthian javanese kaithi kannada katakana kawi kayahli kharoshthi \
    khitansmallscript khmer khojki khudawadi l lao latin lc lepcha letter letternumber limbu lineara linearb \
    lineseparator lisu ll lm lo lowercaseletter lt lu lycian lydian m mahajani makasar malayalam mandaic \
    manichaean marchen mark masaramgondi mathsymbol mc me medefaidrin meeteimayek mendekikakui meroiticcursive \
    meroitichieroglyphs miao mn modi modifierletter modifiersymbol mongolian mro multani myanmar n nabataean \
    nagmundari nandinagari nd newa newtailue nko nl no nonspacingmark number nushu nyiakengpuachuehmong ogham \
    olchiki oldhungarian olditalic oldnortharabian oldpermic oldpersian oldsogdian oldsoutharabian oldturkic \
    olduyghur openpunctuation oriya osage osmanya other otherletter othernumber otherpunctuation othersymbol p \
    pahawhhmong palmyrene paragraphseparator paucinhau pc pd pe pf phagspa phoenician pi po privateuse ps \
    psalterpahlavi punct punctuation rejang runic s samaritan saurashtra sc separator sharada shavian siddham \
    signwriting sinhala sk sm so sogdian sorasompeng soyombo spaceseparator spacingmark sundanese surrogate \
    sylotinagri symbol syriac tagalog tagbanwa taile taitham taiviet takri tamil tangsa tangut telugu thaana thai \
    tibetan tifinagh tirhuta titlecaseletter toto ugaritic unassigned uppercaseletter vai vithkuqi wancho \
    warangciti yezidi yi z zanabazarsquare zl zp zs";

fn is_property(name: &str) -> bool {
    static NAMES: LazyLock<HashSet<&str>> = LazyLock::new(|| PROPERTIES.split(' ').collect());
    let plain: String = name.chars().filter(|c| !"_- ".contains(*c)).map(|c| c.to_ascii_lowercase()).collect();
    NAMES.contains(plain.as_str())
}

impl<'p> Parser<'p> {
    /// `\pL`, `\p{Greek}` or `\d`, as a class.
    pub(super) fn class_escape(&mut self) -> Result<Option<(String, usize)>, Wrong<'p>> {
        for (escape, class) in CLASSES {
            if self.eat(escape) {
                return Ok(Some(((*class).to_owned(), 12)));
            }
        }
        let start = self.at;
        let negative = self.rest().starts_with("\\P");
        if !(self.eat("\\p") || self.eat("\\P")) {
            return Ok(None);
        }
        let name = if self.eat("{") {
            let name_at = self.at;
            let Some(end) = self.rest().find('}') else { return Err((BAD_RANGE, &self.text[start..])) };
            self.at += end + 1;
            &self.text[name_at..name_at + end]
        } else {
            let name_at = self.at;
            self.next();
            self.since(name_at)
        };
        let (negative, name) = name.strip_prefix('^').map_or((negative, name), |name| (!negative, name));
        let letter = if negative { 'P' } else { 'p' };
        // No text has a surrogate, and the crate has no name for it.
        let class = match (name.to_ascii_lowercase().as_str(), negative) {
            ("cs" | "surrogate", false) => "[^\\x00-\\x{10FFFF}]".to_owned(),
            ("cs" | "surrogate", true) => "[\\x00-\\x{10FFFF}]".to_owned(),
            _ => format!("\\{letter}{{{name}}}"),
        };
        if !is_property(name) {
            return Err((BAD_RANGE, self.since(start)));
        }
        Ok(Some((class, 400)))
    }

    pub(super) fn class(&mut self) -> Result<(), Wrong<'p>> {
        let start = self.at;
        self.at += 1;
        let negative = self.eat("^");
        let mut out = if negative { "[^".to_owned() } else { "[".to_owned() };
        let mut weight = if negative { 20 } else { 2 };
        let mut first = true;
        while first || self.peek() != Some(']') {
            first = false;
            let (item, more) = self.class_item(start)?;
            out.push_str(&item);
            weight += more;
        }
        self.at += 1;
        out.push(']');
        self.atom(&out, weight);
        Ok(())
    }

    /// A class, a character or a range in the class that begins at `class`.
    fn class_item(&mut self, class: usize) -> Result<(String, usize), Wrong<'p>> {
        if self.rest().starts_with("[:")
            && let Some(end) = self.rest()[2..].find(":]")
        {
            let start = self.at;
            self.at += end + 4;
            let name = self.since(start);
            let plain = name.trim_matches(['[', ':', ']', '^']);
            let known = POSIX.contains(&plain) && (name.len() == plain.len() + 4 || name.starts_with("[:^"));
            return if known { Ok((name.to_owned(), 12)) } else { Err((BAD_RANGE, name)) };
        }
        if let Some(found) = self.class_escape()? {
            return Ok(found);
        }
        let start = self.at;
        let low = self.class_character(class)?;
        let mut high = low;
        if self.rest().starts_with('-') && self.rest().len() > 1 && !self.rest().starts_with("-]") {
            self.at += 1;
            high = self.class_character(class)?;
            if high < low {
                return Err((BAD_RANGE, self.since(start)));
            }
        }
        Ok((range(low, high), if high > 0x7f { 8 } else { 2 }))
    }

    fn class_character(&mut self, class: usize) -> Result<u32, Wrong<'p>> {
        match self.peek() {
            None => Err(("missing closing ]", &self.text[class..])),
            Some('\\') => self.escape(),
            Some(c) => {
                self.at += c.len_utf8();
                Ok(c.into())
            }
        }
    }
}

/// A range in a class; of code points that are no characters nothing is left.
fn range(low: u32, high: u32) -> String {
    let low = (low..=high).find_map(char::from_u32);
    let high = high.min(char::MAX.into());
    let high = char::from_u32(high).unwrap_or('\u{d7ff}');
    match low {
        Some(low) if low == high => one(low),
        Some(low) if low < high => format!("{}-{}", one(low), one(high)),
        _ => String::new(),
    }
}
