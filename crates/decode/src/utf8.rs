//! Bodies that are not all UTF-8: the rows that are stay readable.

use std::borrow::Cow;

/// A body as text of the same length; bytes that are no UTF-8 are replaced one by one, so that positions stay.
pub(crate) struct Text<'a> {
    pub bytes: &'a [u8],
    pub text: Cow<'a, str>,
}

impl<'a> Text<'a> {
    /// Reads a body; a byte order mark at its start is left out.
    pub fn new(body: &'a [u8]) -> Self {
        let bytes = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(replaced(bytes)),
        };
        Text { bytes, text }
    }

    /// Whether the body's bytes in a range are valid by themselves.
    pub fn is_valid(&self, range: std::ops::Range<usize>) -> bool {
        match self.text {
            Cow::Borrowed(_) => true,
            Cow::Owned(_) => std::str::from_utf8(&self.bytes[range]).is_ok(),
        }
    }
}

fn replaced(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(std::iter::repeat_n('?', chunk.invalid().len()));
    }
    text
}
