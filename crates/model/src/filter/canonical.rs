//! One form for filters that mean the same by plain rearrangement: order and repeats of parts and values do not matter.
//!
//! Not here: logical equivalence in general; two filters that this leaves different may still mean the same.

use std::cmp::Ordering;

use super::{Filter, Scalar};

impl Filter {
    /// The canonical form: nested `And`s and `Or`s flattened, parts and values sorted and without repeats, `true` and
    /// `false` parts folded away, double negation removed. Idempotent.
    #[must_use]
    pub fn canonical(self) -> Filter {
        match self {
            Filter::And(parts) => fold(parts, true),
            Filter::Or(parts) => fold(parts, false),
            Filter::Not(part) => match part.canonical() {
                Filter::Not(inner) => *inner,
                Filter::And(parts) if parts.is_empty() => Filter::none(),
                Filter::Or(parts) if parts.is_empty() => Filter::all(),
                other => Filter::Not(Box::new(other)),
            },
            Filter::Is { column, mut values, case_sensitive } => {
                values.sort_by(Scalar::order);
                values.dedup();
                Filter::Is { column, values, case_sensitive }
            }
            Filter::Text { column, how, mut patterns, case_sensitive } => {
                patterns.sort_unstable();
                patterns.dedup();
                Filter::Text { column, how, patterns, case_sensitive }
            }
            leaf @ (Filter::Compare { .. } | Filter::Exists { .. }) => leaf,
        }
    }

    /// The filter no row passes.
    pub fn none() -> Self {
        Filter::Or(Vec::new())
    }

    /// True for [`Filter::none`].
    pub fn is_none(&self) -> bool {
        matches!(self, Filter::Or(parts) if parts.is_empty())
    }
}

/// `And` (or `Or`) of the parts' canonical forms.
fn fold(parts: Vec<Filter>, all: bool) -> Filter {
    let mut flat = Vec::new();
    for part in parts {
        match part.canonical() {
            Filter::And(inner) if all => flat.extend(inner),
            Filter::Or(inner) if !all => flat.extend(inner),
            // What is left of `And` in an `Or` and the reverse decides the whole when it is empty.
            Filter::Or(inner) if all && inner.is_empty() => return Filter::none(),
            Filter::And(inner) if !all && inner.is_empty() => return Filter::all(),
            other => flat.push(other),
        }
    }
    flat.sort_by(Filter::order);
    flat.dedup();
    match (flat.len(), all) {
        (1, _) => flat.remove(0),
        (_, true) => Filter::And(flat),
        (_, false) => Filter::Or(flat),
    }
}

impl Filter {
    /// A total order over canonical filters; which one does not matter.
    fn order(&self, other: &Filter) -> Ordering {
        match (self, other) {
            (Filter::And(a), Filter::And(b)) | (Filter::Or(a), Filter::Or(b)) => {
                lexicographic(a, b, Filter::order)
            }
            (Filter::Not(a), Filter::Not(b)) => a.order(b),
            (
                Filter::Is { column: a, values: a_values, case_sensitive: a_case },
                Filter::Is { column: b, values: b_values, case_sensitive: b_case },
            ) => (a, a_case).cmp(&(b, b_case)).then_with(|| lexicographic(a_values, b_values, Scalar::order)),
            (
                Filter::Text { column: a, how: a_how, patterns: a_patterns, case_sensitive: a_case },
                Filter::Text { column: b, how: b_how, patterns: b_patterns, case_sensitive: b_case },
            ) => (a, a_how, a_case, a_patterns).cmp(&(b, b_how, b_case, b_patterns)),
            (
                Filter::Compare { column: a, how: a_how, value: a_value },
                Filter::Compare { column: b, how: b_how, value: b_value },
            ) => (a, a_how).cmp(&(b, b_how)).then_with(|| a_value.order(b_value)),
            (Filter::Exists { column: a }, Filter::Exists { column: b }) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Filter::Exists { .. } => 0,
            Filter::Is { .. } => 1,
            Filter::Compare { .. } => 2,
            Filter::Text { .. } => 3,
            Filter::Not(_) => 4,
            Filter::And(_) => 5,
            Filter::Or(_) => 6,
        }
    }
}

fn lexicographic<T>(a: &[T], b: &[T], order: fn(&T, &T) -> Ordering) -> Ordering {
    let difference = a.iter().zip(b).map(|(a, b)| order(a, b)).find(|order| order.is_ne());
    difference.unwrap_or_else(|| a.len().cmp(&b.len()))
}

impl Scalar {
    /// A total order over literals; values of one column are of one kind, and null comes first.
    fn order(&self, other: &Scalar) -> Ordering {
        match (self, other) {
            (Scalar::Int(a), Scalar::Int(b))
            | (Scalar::Money(a), Scalar::Money(b))
            | (Scalar::Time(a), Scalar::Time(b)) => a.cmp(b),
            (Scalar::Float(a), Scalar::Float(b)) => a.total_cmp(b),
            (Scalar::Bool(a), Scalar::Bool(b)) => a.cmp(b),
            (Scalar::String(a), Scalar::String(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Scalar::Null => 0,
            Scalar::Bool(_) => 1,
            Scalar::Int(_) => 2,
            Scalar::Float(_) => 3,
            Scalar::Money(_) => 4,
            Scalar::String(_) => 5,
            Scalar::Time(_) => 6,
        }
    }
}
