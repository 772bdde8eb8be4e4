//! The table and its JSON.

use serde_json::{Map, Value, json};

/// Which way a figure is good.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Better {
    Higher,
    Lower,
}

/// Something else that the same measurement tells.
pub struct Detail {
    name: &'static str,
    value: f64,
    unit: &'static str,
}

impl Detail {
    pub fn new(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self { name, value, unit }
    }
}

/// One measured figure of one server.
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    pub better: Better,
    pub details: Vec<Detail>,
}

impl Figure {
    /// A figure of which more is better.
    pub fn higher(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, better: Better::Higher, details: Vec::new() }
    }

    /// A figure of which less is better.
    pub fn lower(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { better: Better::Lower, ..Self::higher(name, value, unit) }
    }

    /// With details.
    pub fn with(mut self, details: Vec<Detail>) -> Self {
        self.details.extend(details);
        self
    }
}

/// What the project aims at, by figure. Relative aims (5x upstream, 15x, 10x, 30x) are worked out from upstream v1.36.2 measured on a
/// machine like this one.
const AIMS: &[(&str, f64)] = &[
    ("start, first: ready", 150.0),
    ("start, first: pod bound", 150.0),
    ("start, again: ready", 150.0),
    ("resident idle, 1 node", 32.0),
    ("idle CPU, 1 node", 0.3),
    ("idle disk, 1 node", 1.0),
    ("binary", 25.0),
    ("create ConfigMap, 64 clients", 5225.0),
    ("create Pod, 64 clients", 3500.0),
    ("get ConfigMap, 64 clients", 10_000.0),
    ("get Pod, 64 clients", 10_000.0),
    ("list, whole", 765.0),
    ("memory added per stored byte", 1.5),
    ("events, 500 watchers", 450_000.0),
    ("an idle watch (shared connection)", 4.0),
    ("pods bound", 5000.0),
    ("idle disk, 3 nodes", 1.0),
    ("store: bytes written per byte stored", 2.0),
    ("store: recovery of 100,000 objects, log", 1000.0),
    ("store: recovery of 100,000 objects, snapshot", 1000.0),
];

/// The figures of every column, in the order they were measured.
#[derive(Default)]
pub struct Report {
    columns: Vec<&'static str>,
    rows: Vec<(String, Vec<Option<Figure>>)>,
}

impl Report {
    /// With the columns named, Coracle's own first.
    pub fn new(columns: Vec<&'static str>) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Puts figures into a column.
    pub fn add(&mut self, column: usize, figures: Vec<Figure>) {
        for figure in figures {
            let index = match self.rows.iter().position(|(name, _)| *name == figure.name) {
                Some(index) => index,
                None => {
                    let cells = self.columns.iter().map(|_| None).collect();
                    self.rows.push((figure.name.clone(), cells));
                    self.rows.len() - 1
                }
            };
            self.rows[index].1[column] = Some(figure);
        }
    }

    /// The table, as text. Columns with nothing in them are left out.
    pub fn table(&self) -> String {
        let used = |column: &usize| self.rows.iter().any(|(_, cells)| cells[*column].is_some());
        let shown: Vec<usize> = (0..self.columns.len()).filter(used).collect();
        let reference = shown.iter().copied().find(|column| self.columns[*column] == "reference");
        let mut lines = vec![vec!["figure".to_owned(), "aim".to_owned()]];
        lines[0].extend(shown.iter().map(|column| self.columns[*column].to_owned()));
        if reference.is_some() {
            lines[0].push("ratio".into());
        }
        lines[0].push("details".into());
        for (name, cells) in &self.rows {
            let unit = cells.iter().flatten().next().map_or("", |figure| figure.unit);
            let mut line = vec![format!("{name} ({unit})"), aim(name).map_or(String::new(), quantity)];
            let text = |column: &usize| cells[*column].as_ref().map_or("-".into(), |figure| quantity(figure.value));
            line.extend(shown.iter().map(text));
            if let Some(reference) = reference {
                line.push(ratio(&cells[0], &cells[reference]).map_or("-".into(), |ratio| format!("{ratio:.1}x")));
            }
            line.push(cells.iter().flatten().next().map_or(String::new(), details));
            lines.push(line);
        }
        let widths: Vec<usize> =
            (0..lines[0].len()).map(|i| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0)).collect();
        let mut text = String::new();
        for line in &lines {
            let last = line.len() - 1;
            let cells: Vec<String> = line.iter().enumerate().map(|(i, cell)| pad(cell, widths[i], i, last)).collect();
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
        }
        text
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let figures: Vec<Value> = self.rows.iter().map(|(name, cells)| self.row(name, cells)).collect();
        json!({"columns": self.columns, "figures": figures})
    }

    fn row(&self, name: &str, cells: &[Option<Figure>]) -> Value {
        let mut row = Map::from_iter([("name".to_owned(), json!(name)), ("aim".to_owned(), json!(aim(name)))]);
        for (column, cell) in self.columns.iter().zip(cells) {
            let Some(figure) = cell else { continue };
            let better = if figure.better == Better::Higher { "higher" } else { "lower" };
            row.insert("unit".into(), json!(figure.unit));
            row.insert("better".into(), json!(better));
            let mut measured = Map::from_iter([("value".to_owned(), json!(figure.value))]);
            for detail in &figure.details {
                measured.insert(format!("{} ({})", detail.name, detail.unit), json!(detail.value));
            }
            row.insert((*column).to_owned(), Value::Object(measured));
        }
        Value::Object(row)
    }
}

fn aim(name: &str) -> Option<f64> {
    AIMS.iter().find(|(figure, _)| *figure == name).map(|(_, aim)| *aim)
}

/// How many times better the first is: over 1 whichever way the figure counts.
fn ratio(own: &Option<Figure>, reference: &Option<Figure>) -> Option<f64> {
    let (own, reference) = (own.as_ref()?, reference.as_ref()?);
    let ratio = match own.better {
        Better::Higher => own.value / reference.value,
        Better::Lower => reference.value / own.value,
    };
    (ratio.is_finite() && ratio > 0.0).then_some(ratio)
}

fn details(figure: &Figure) -> String {
    let each = |detail: &Detail| format!("{} {} {}", detail.name, quantity(detail.value), detail.unit);
    figure.details.iter().map(each).collect::<Vec<_>>().join(", ")
}

fn pad(cell: &str, width: usize, index: usize, last: usize) -> String {
    let gap = " ".repeat(width - cell.chars().count());
    if index == 0 || index == last { format!("{cell}{gap}") } else { format!("{gap}{cell}") }
}

/// Three digits that matter, thousands apart.
fn quantity(value: f64) -> String {
    let whole = value.fract() == 0.0;
    if value.abs() < 10.0 && !whole {
        return format!("{value:.2}");
    }
    if value.abs() < 100.0 && !whole {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_over_one_is_better_both_ways() {
        let (fast, slow) = (Some(Figure::higher("x", 200.0, "/s")), Some(Figure::higher("x", 100.0, "/s")));
        assert_eq!(ratio(&fast, &slow), Some(2.0));
        let (small, big) = (Some(Figure::lower("x", 10.0, "MiB")), Some(Figure::lower("x", 40.0, "MiB")));
        assert_eq!(ratio(&small, &big), Some(4.0));
    }

    #[test]
    fn what_a_column_lacks_is_a_dash() {
        let mut report = Report::new(vec!["coracle", "reference"]);
        report.add(0, vec![Figure::lower("start, first: ready", 1234567.0, "ms")]);
        report.add(1, vec![Figure::lower("other", 1.0, "ms")]);
        let table = report.table();
        assert!(table.contains("1,234,567"), "{table}");
        assert!(table.lines().nth(1).is_some_and(|line| line.ends_with("-      -")), "{table}");
    }
}
