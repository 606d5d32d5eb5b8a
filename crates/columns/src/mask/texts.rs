//! Tests of one string: membership in a set, and patterns.

use std::borrow::Cow;

use hashbrown::HashSet;
use memchr::memmem::Finder;
use regex::Regex;
use tidewater_model::filter::{TextMatch, compile_regex};
use tidewater_model::names::excerpt;

use super::MaskError;

/// Sets up to this size are scanned: that is faster than a hash of the string.
const SCANNED_TEXTS_MAX: usize = 4;

/// Each character in lower case by itself: no context (final sigma) and no language rules.
pub(super) fn fold(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().flat_map(char::to_lowercase).collect())
}

/// Strings to be found by equality.
#[derive(Debug)]
pub(super) struct TextSet {
    folds: bool,
    few: Vec<Box<str>>,
    many: HashSet<Box<str>>,
}

impl TextSet {
    pub fn new<'a>(texts: impl Iterator<Item = &'a str>, case_sensitive: bool) -> Self {
        let folds = !case_sensitive;
        let many: HashSet<Box<str>> =
            texts.map(|text| if folds { fold(text).into() } else { Box::from(text) }).collect();
        if many.len() <= SCANNED_TEXTS_MAX {
            return TextSet { folds, few: many.into_iter().collect(), many: HashSet::new() };
        }
        TextSet { folds, few: Vec::new(), many }
    }

    pub fn contains(&self, text: &str) -> bool {
        let text = if self.folds { fold(text) } else { Cow::Borrowed(text) };
        self.few.iter().any(|known| **known == *text) || (!self.many.is_empty() && self.many.contains(&*text))
    }
}

/// Patterns of which any may match.
#[derive(Debug)]
pub(super) struct TextTest {
    matchers: Vec<Matcher>,
    folds: bool,
}

impl TextTest {
    pub fn new(matchers: Vec<Matcher>, folds: bool) -> Self {
        TextTest { matchers, folds }
    }

    pub fn matches(&self, text: &str) -> bool {
        let text = if self.folds { fold(text) } else { Cow::Borrowed(text) };
        self.matchers.iter().any(|matcher| matcher.matches(&text))
    }
}

#[derive(Debug)]
pub(super) enum Matcher {
    Contains(Box<Finder<'static>>),
    StartsWith(String),
    EndsWith(String),
    Regex(Regex),
}

impl Matcher {
    pub fn new(how: TextMatch, pattern: &str, case_sensitive: bool) -> Result<Self, MaskError> {
        let text = if case_sensitive { pattern.to_owned() } else { fold(pattern).into_owned() };
        Ok(match how {
            TextMatch::Contains => Matcher::Contains(Box::new(Finder::new(text.as_bytes()).into_owned())),
            TextMatch::StartsWith => Matcher::StartsWith(text),
            TextMatch::EndsWith => Matcher::EndsWith(text),
            TextMatch::Regex => {
                let regex = compile_regex(pattern, case_sensitive).map_err(|source| MaskError::Regex {
                    pattern: excerpt(pattern),
                    source: Box::new(source),
                })?;
                Matcher::Regex(regex)
            }
        })
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Matcher::Contains(finder) => finder.find(text.as_bytes()).is_some(),
            Matcher::StartsWith(pattern) => text.starts_with(pattern.as_str()),
            Matcher::EndsWith(pattern) => text.ends_with(pattern.as_str()),
            Matcher::Regex(regex) => regex.is_match(text),
        }
    }
}
