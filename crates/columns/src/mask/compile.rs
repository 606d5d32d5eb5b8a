//! From a filter to a tree of tests over typed values. Comparisons between integers and floats are made exact here, so
//! that evaluation only ever compares a column's own type.

use tidewater_model::filter::{Comparison, Filter, Scalar, TextMatch};
use tidewater_model::schema::ColumnRef;

use super::texts::{Matcher, TextSet, TextTest};
use super::{CompiledFilter, MaskError};

/// Sets up to this size are scanned, larger ones are searched by halving.
const SCANNED_VALUES_MAX: usize = 8;

#[derive(Debug)]
pub(super) enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    /// Index into [`CompiledFilter::leaves`].
    Leaf(usize),
}

#[derive(Debug)]
pub(super) struct Leaf {
    /// Index into [`CompiledFilter::columns`].
    pub column: usize,
    pub test: Test,
}

/// What is asked of one value. A test that does not fit the column's type is false for every value.
#[derive(Debug)]
pub(super) enum Test {
    Exists,
    Is(ValueSet),
    Text(TextTest),
    Compare(Order),
}

impl Test {
    /// What it says of a null.
    pub fn on_null(&self) -> bool {
        matches!(self, Test::Is(set) if set.null)
    }

    /// What it says of a string.
    pub fn on_text(&self, text: &str) -> bool {
        match self {
            Test::Exists => true,
            Test::Is(set) => set.texts.contains(text),
            Test::Text(test) => test.matches(text),
            Test::Compare(order) => order.text.as_ref().is_some_and(|(how, bound)| {
                let order = text.as_bytes().cmp(bound.as_bytes());
                match how {
                    Comparison::Gt => order.is_gt(),
                    Comparison::Gte => order.is_ge(),
                    Comparison::Lt => order.is_lt(),
                    Comparison::Lte => order.is_le(),
                }
            }),
        }
    }
}

/// The values of an `is`, by the column type they can be found in.
#[derive(Debug)]
pub(super) struct ValueSet {
    pub null: bool,
    pub holds_true: bool,
    pub holds_false: bool,
    /// Ascending, distinct.
    ints: Vec<i64>,
    /// Ascending, distinct, without -0.0.
    floats: Vec<f64>,
    texts: TextSet,
}

impl ValueSet {
    fn new(values: &[Scalar], case_sensitive: bool) -> Self {
        let mut ints = Vec::new();
        let mut floats = Vec::new();
        for value in values {
            match *value {
                Scalar::Int(int) => {
                    ints.push(int);
                    floats.extend(exact_float(int));
                }
                Scalar::Money(int) | Scalar::Time(int) => ints.push(int),
                Scalar::Float(float) => {
                    floats.push(float + 0.0);
                    ints.extend(exact_int(float));
                }
                Scalar::Null | Scalar::Bool(_) | Scalar::String(_) => {}
            }
        }
        ints.sort_unstable();
        ints.dedup();
        floats.sort_unstable_by(f64::total_cmp);
        floats.dedup();
        let texts = values.iter().filter_map(|value| match value {
            Scalar::String(text) => Some(text.as_str()),
            _ => None,
        });
        ValueSet {
            null: values.contains(&Scalar::Null),
            holds_true: values.contains(&Scalar::Bool(true)),
            holds_false: values.contains(&Scalar::Bool(false)),
            texts: TextSet::new(texts, case_sensitive),
            ints,
            floats,
        }
    }

    #[inline]
    pub fn has_int(&self, value: i64) -> bool {
        match self.ints.len() {
            0..=SCANNED_VALUES_MAX => self.ints.contains(&value),
            _ => self.ints.binary_search(&value).is_ok(),
        }
    }

    #[inline]
    pub fn has_float(&self, value: f64) -> bool {
        match self.floats.len() {
            0..=SCANNED_VALUES_MAX => self.floats.contains(&value),
            _ => self.floats.binary_search_by(|probe| probe.total_cmp(&(value + 0.0))).is_ok(),
        }
    }
}

fn exact_float(int: i64) -> Option<f64> {
    let float = int as f64;
    (float as i128 == i128::from(int)).then_some(float)
}

fn exact_int(float: f64) -> Option<i64> {
    (float.fract() == 0.0).then(|| i64::try_from(float as i128).ok()).flatten()
}

/// One side of a comparison, in each type the column may have.
#[derive(Debug)]
pub(super) struct Order {
    /// The integers that fulfil it: `ints.0 ..= ints.1`, empty where the first is larger.
    pub ints: (i64, i64),
    /// `None` where no float can fulfil it.
    pub floats: Option<(Comparison, f64)>,
    text: Option<(Comparison, String)>,
}

impl Order {
    fn new(how: Comparison, value: &Scalar) -> Self {
        const NONE: (i64, i64) = (i64::MAX, i64::MIN);
        match value {
            Scalar::Int(int) => Order {
                ints: int_range(how, i128::from(*int), i128::from(*int)),
                floats: Some(float_bound(how, *int)),
                text: None,
            },
            Scalar::Money(int) | Scalar::Time(int) => {
                Order { ints: int_range(how, i128::from(*int), i128::from(*int)), floats: None, text: None }
            }
            Scalar::Float(float) => Order {
                ints: int_range(how, float.floor() as i128, float.ceil() as i128),
                floats: Some((how, *float)),
                text: None,
            },
            Scalar::String(text) => Order { ints: NONE, floats: None, text: Some((how, text.clone())) },
            Scalar::Null | Scalar::Bool(_) => Order { ints: NONE, floats: None, text: None },
        }
    }
}

/// The integers in that order to a number whose floor and ceiling are given.
fn int_range(how: Comparison, floor: i128, ceiling: i128) -> (i64, i64) {
    let (low, high) = (i128::from(i64::MIN), i128::from(i64::MAX));
    let (first, last) = match how {
        Comparison::Gt => (floor.saturating_add(1), high),
        Comparison::Gte => (ceiling, high),
        Comparison::Lt => (low, ceiling.saturating_sub(1)),
        Comparison::Lte => (low, floor),
    };
    if first > high || last < low {
        return (i64::MAX, i64::MIN);
    }
    (first.max(low) as i64, last.min(high) as i64)
}

/// A comparison with an integer as one with a float that holds for the same floats. An integer past 2^53 may lie between
/// two floats; then the bound is the neighbour it was rounded to, taken in or out as its side demands.
fn float_bound(how: Comparison, int: i64) -> (Comparison, f64) {
    let float = int as f64;
    let how = match ((float as i128).cmp(&i128::from(int)), how) {
        (std::cmp::Ordering::Equal, how) => how,
        (std::cmp::Ordering::Greater, Comparison::Gt | Comparison::Gte) => Comparison::Gte,
        (std::cmp::Ordering::Greater, Comparison::Lt | Comparison::Lte) => Comparison::Lt,
        (std::cmp::Ordering::Less, Comparison::Gt | Comparison::Gte) => Comparison::Gt,
        (std::cmp::Ordering::Less, Comparison::Lt | Comparison::Lte) => Comparison::Lte,
    };
    (how, float)
}

pub(super) fn compile(filter: &Filter) -> Result<CompiledFilter, MaskError> {
    let mut compiled =
        CompiledFilter { columns: Vec::new(), leaves: Vec::new(), root: Node::And(Vec::new()) };
    compiled.root = node(filter, &mut compiled)?;
    Ok(compiled)
}

fn node(filter: &Filter, out: &mut CompiledFilter) -> Result<Node, MaskError> {
    let (column, test) = match filter {
        Filter::And(parts) => return Ok(Node::And(nodes(parts, out)?)),
        Filter::Or(parts) => return Ok(Node::Or(nodes(parts, out)?)),
        Filter::Not(part) => return Ok(Node::Not(Box::new(node(part, out)?))),
        Filter::Is { column, values, case_sensitive } => {
            (column, Test::Is(ValueSet::new(values, *case_sensitive)))
        }
        Filter::Text { column, how, patterns, case_sensitive } => {
            (column, Test::Text(text_test(*how, patterns, *case_sensitive)?))
        }
        Filter::Compare { column, how, value } => (column, Test::Compare(Order::new(*how, value))),
        Filter::Exists { column } => (column, Test::Exists),
    };
    let column = column_index(column, &mut out.columns);
    out.leaves.push(Leaf { column, test });
    Ok(Node::Leaf(out.leaves.len() - 1))
}

fn nodes(parts: &[Filter], out: &mut CompiledFilter) -> Result<Vec<Node>, MaskError> {
    parts.iter().map(|part| node(part, out)).collect()
}

fn column_index(column: &ColumnRef, columns: &mut Vec<ColumnRef>) -> usize {
    columns.iter().position(|known| known == column).unwrap_or_else(|| {
        columns.push(column.clone());
        columns.len() - 1
    })
}

fn text_test(how: TextMatch, patterns: &[String], case_sensitive: bool) -> Result<TextTest, MaskError> {
    let matchers: Result<Vec<Matcher>, MaskError> =
        patterns.iter().map(|pattern| Matcher::new(how, pattern, case_sensitive)).collect();
    // A regular expression folds case itself.
    Ok(TextTest::new(matchers?, !case_sensitive && how != TextMatch::Regex))
}
