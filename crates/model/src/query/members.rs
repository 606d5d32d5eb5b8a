//! Typed access to the members of a request object. Null members count as absent.
//!
//! Not here: what the members mean (`request`).

use serde_json::{Map, Value};

use super::request::QueryError;
use crate::input_error::{InputError, Shown, check_members, codes};
use crate::names::suggest;

/// Typed access to an object's members.
pub(super) struct Members<'a> {
    /// The object.
    pub object: &'a Map<String, Value>,
    /// What stands before a member's name in a path.
    pub outer: &'static str,
}

impl<'a> Members<'a> {
    /// A member that is there and not null.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, value: &Value, wanted: &str) -> QueryError {
        let message = format!("'{name}' must be {wanted}, not {}", Shown(value));
        InputError::new(codes::INVALID_TYPE, format!("{}{name}", self.outer), message)
    }

    /// A member that is text.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>, QueryError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, other, "text")),
        }
    }

    /// A member that is true or false; absent is false.
    pub fn flag(&self, name: &str) -> Result<bool, QueryError> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.wrong(name, other, "true or false")),
        }
    }

    /// A member that is a whole number from 0 up.
    pub fn count(&self, name: &str) -> Result<Option<u64>, QueryError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_u64().map(Some).ok_or_else(|| self.wrong(name, value, "a whole number from 0 up"))
    }

    /// A member that is a list; absent is empty. `of` is for the message.
    pub fn list(&self, name: &str, of: &str) -> Result<&'a [Value], QueryError> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(other) => Err(self.wrong(name, other, &format!("a list of {of}"))),
        }
    }

    /// A member that is an object with no other members than `members`.
    pub fn object(
        &self,
        name: &'static str,
        members: &[&str],
    ) -> Result<Option<&'a Map<String, Value>>, QueryError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(object)) => {
                check_members(object, members, name)?;
                Ok(Some(object))
            }
            Some(other) => Err(self.wrong(name, other, &format!("an object with {}", members.join(", ")))),
        }
    }

    /// A member that is one of a few words.
    pub fn one_of<T: Copy>(&self, name: &str, known: &[(&str, T)]) -> Result<Option<T>, QueryError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        if let Some((_, value)) = known.iter().find(|(word, _)| *word == text) {
            return Ok(Some(*value));
        }
        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        let nearest = suggest(text, words.iter().copied())
            .map(|word| format!("; did you mean '{word}'?"))
            .unwrap_or_default();
        let message = format!(
            "'{name}' must be {}, not '{}'{nearest}",
            words.join(" or "),
            crate::names::excerpt(text)
        );
        Err(InputError::new(codes::INVALID_VALUE, format!("{}{name}", self.outer), message))
    }
}
