//! The tokens of JSON (RFC 8259), strictly, over text that is known to be UTF-8.
//!
//! Nothing here recurses, so depth costs memory in proportion to the input and no stack.

use crate::number::Number;

/// Where and why a text is no JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Syntax {
    /// Byte offset in the scanned text.
    pub at: usize,
    /// What was expected.
    pub reason: &'static str,
}

pub(crate) type Scan<T> = Result<T, Syntax>;

/// A string as it stands between its quotes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawString<'a> {
    pub raw: &'a str,
    pub has_escapes: bool,
}

/// An escape that stands for half a character.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LoneSurrogate;

pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str) -> Self {
        Scanner { text, at: 0 }
    }

    pub fn position(&self) -> usize {
        self.at
    }

    /// The text from a position to here.
    pub fn text_from(&self, from: usize) -> &'a str {
        &self.text[from..self.at]
    }

    /// An error here.
    pub fn syntax(&self, reason: &'static str) -> Syntax {
        Syntax { at: self.at, reason }
    }

    #[inline]
    pub fn skip_space(&mut self) {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// The next byte that is no space; `None` at the end.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes the next byte if it is `byte`.
    #[inline]
    pub fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Takes `token` if it comes next.
    #[inline]
    pub fn take_token(&mut self, token: &str) -> bool {
        let is_next = self.text.as_bytes()[self.at..].starts_with(token.as_bytes());
        self.at += if is_next { token.len() } else { 0 };
        is_next
    }

    #[inline]
    pub fn expect(&mut self, byte: u8, reason: &'static str) -> Scan<()> {
        if self.take(byte) { Ok(()) } else { Err(self.syntax(reason)) }
    }

    /// A string, its opening quote next.
    #[inline]
    pub fn string(&mut self) -> Scan<RawString<'a>> {
        self.expect(b'"', "expected a string")?;
        let bytes = self.text.as_bytes();
        let from = self.at;
        let mut has_escapes = false;
        loop {
            self.at = find_special(bytes, self.at);
            match bytes.get(self.at) {
                Some(b'"') => {
                    let raw = &self.text[from..self.at];
                    self.at += 1;
                    return Ok(RawString { raw, has_escapes });
                }
                Some(b'\\') => {
                    has_escapes = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.syntax("a control character in a string must be escaped")),
                None => return Err(self.syntax("the string is not closed")),
            }
        }
    }

    fn escape(&mut self) -> Scan<()> {
        let bytes = self.text.as_bytes();
        match bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = bytes.get(self.at + 2..self.at + 6);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return Err(self.syntax("expected four hexadecimal digits after '\\u'"));
                }
                self.at += 6;
            }
            _ => return Err(self.syntax("unknown escape in a string")),
        }
        Ok(())
    }

    /// A number, its first byte next.
    #[inline]
    pub fn number(&mut self) -> Scan<Number<'a>> {
        match Number::read(&self.text[self.at..]) {
            Some(number) => {
                self.at += number.raw.len();
                Ok(number)
            }
            None => Err(self.syntax("malformed number")),
        }
    }

    /// `true`, `false` or `null`.
    #[inline]
    pub fn word(&mut self) -> Scan<Option<bool>> {
        let rest = &self.text.as_bytes()[self.at..];
        let (length, value) = match rest {
            [b't', b'r', b'u', b'e', ..] => (4, Some(true)),
            [b'f', b'a', b'l', b's', b'e', ..] => (5, Some(false)),
            [b'n', b'u', b'l', b'l', ..] => (4, None),
            _ => return Err(self.syntax("expected a value")),
        };
        self.at += length;
        Ok(value)
    }

    /// Passes over a value of any kind; returns how deep it is nested (a scalar is 0).
    pub fn skip_value(&mut self) -> Scan<usize> {
        // One closing bracket per open object or array.
        let mut open: Vec<u8> = Vec::new();
        let mut deepest = 0;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'-' | b'0'..=b'9') => {
                    self.number()?;
                }
                Some(b'{') => {
                    self.at += 1;
                    open.push(b'}');
                }
                Some(b'[') => {
                    self.at += 1;
                    open.push(b']');
                }
                _ => {
                    self.word()?;
                }
            }
            let opened = matches!(self.text.as_bytes()[self.at - 1], b'{' | b'[');
            deepest = deepest.max(open.len());
            if self.next_in(&mut open, opened)? {
                return Ok(deepest);
            }
        }
    }

    /// Goes on after a value or an opening bracket to where the next value begins; true if there is none any more.
    fn next_in(&mut self, open: &mut Vec<u8>, mut just_opened: bool) -> Scan<bool> {
        loop {
            let Some(&closing) = open.last() else { return Ok(true) };
            if self.take(closing) {
                open.pop();
                just_opened = false;
                continue;
            }
            if !just_opened {
                self.expect(b',', "expected ',' or a closing bracket")?;
            }
            if closing == b'}' {
                self.string()?;
                self.expect(b':', "expected ':' after a member's name")?;
            }
            return Ok(false);
        }
    }
}

/// The position of the first quote, backslash or control character at or after `at`; the length if there is none. Eight
/// bytes at a time (Mycroft's zero-byte test; a false hit can only follow a true one, and only the first is used).
#[inline]
fn find_special(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        let hits = (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        let hits = hits & HIGHS;
        if hits != 0 {
            return at + hits.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while let Some(&byte) = bytes.get(at) {
        if byte == b'"' || byte == b'\\' || byte < 0x20 {
            break;
        }
        at += 1;
    }
    at
}

impl<'a> RawString<'a> {
    /// The string it stands for; `scratch` holds it where it has escapes.
    #[inline]
    pub fn decode<'s>(&self, scratch: &'s mut String) -> Result<&'s str, LoneSurrogate>
    where
        'a: 's,
    {
        if !self.has_escapes {
            return Ok(self.raw);
        }
        unescape(self.raw, scratch)?;
        Ok(scratch)
    }
}

/// The escapes were checked by the scanner.
fn unescape(raw: &str, out: &mut String) -> Result<(), LoneSurrogate> {
    out.clear();
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let kind = rest.as_bytes()[at + 1];
        rest = &rest[at + 2..];
        out.push(match kind {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let (character, length) = unicode(rest).ok_or(LoneSurrogate)?;
                rest = &rest[length..];
                character
            }
            other => char::from(other),
        });
    }
    out.push_str(rest);
    Ok(())
}

/// The character of a `\u` escape, or of a pair of them, and how many bytes after the first `\u` it takes.
fn unicode(rest: &str) -> Option<(char, usize)> {
    let first = u32::from_str_radix(rest.get(..4)?, 16).ok()?;
    if let Some(character) = char::from_u32(first) {
        return Some((character, 4));
    }
    let second = rest.get(4..)?.strip_prefix("\\u")?;
    let second = u32::from_str_radix(second.get(..4)?, 16).ok()?;
    if !(0xd800..0xdc00).contains(&first) || !(0xdc00..0xe000).contains(&second) {
        return None;
    }
    char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)).map(|character| (character, 10))
}
