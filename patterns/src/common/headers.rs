//! What a caller tells about a request besides its body, and the handler reads: `key`, `tp`, `ct`, `tag` of the
//! extension header, and names of its own.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Ext, ExtError};

/// Headers of a request. Nothing here is looked at by servers and brokers; all of it reaches the handler, if everybody
/// on the way speaks the extension header, and is left out otherwise. Clones share what is in it.
///
/// ```
/// use sinew_patterns::common::{CallOptions, Headers};
///
/// let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// let headers = Headers::new().with_trace(trace)?.with("tenant", "blue")?;
/// let options = CallOptions { headers, ..CallOptions::default() };
/// assert_eq!(options.headers.trace(), Some(trace));
/// assert_eq!(options.headers.other("tenant"), Some(&b"blue"[..]));
/// # Ok::<(), sinew_patterns::common::ExtError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Option<Arc<Ext<'static>>>);

impl Headers {
    /// The most octets of all headers of a request together, with 5 for each besides its name and value: there is room for
    /// what else the extension header holds.
    pub const MAX: usize = Ext::MAX - 256;

    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Headers(None)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// `key`: the key of business or of order.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.0.as_ref()?.key.as_deref()
    }

    /// `tp`: the W3C traceparent.
    #[must_use]
    pub fn trace(&self) -> Option<&str> {
        self.0.as_ref()?.trace.as_deref()
    }

    /// `ct`: the content type of the body.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.0.as_ref()?.content_type.as_deref()
    }

    /// `tag`: a tag to filter by.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.0.as_ref()?.tag.as_deref()
    }

    /// The value of a name of the caller's own.
    #[must_use]
    pub fn other(&self, name: &str) -> Option<&[u8]> {
        let mut other = self.0.as_ref()?.other.iter();
        let (_, value) = other.find(|(known, _)| known == name)?;
        Some(value)
    }

    /// With this [`key`](Self::key).
    ///
    /// # Errors
    /// If all are more than [`Headers::MAX`] octets.
    pub fn with_key(self, key: impl Into<Vec<u8>>) -> Result<Self, ExtError> {
        let key = key.into();
        self.with_field(|ext| ext.key = Some(Cow::Owned(key)))
    }

    /// With this [`trace`](Self::trace). What is in it is not looked at.
    ///
    /// # Errors
    /// As [`with_key`](Self::with_key).
    pub fn with_trace(self, trace: impl Into<String>) -> Result<Self, ExtError> {
        let trace = trace.into();
        self.with_field(|ext| ext.trace = Some(Cow::Owned(trace)))
    }

    /// With this [`content_type`](Self::content_type).
    ///
    /// # Errors
    /// As [`with_key`](Self::with_key).
    pub fn with_content_type(self, content_type: impl Into<String>) -> Result<Self, ExtError> {
        let content_type = content_type.into();
        self.with_field(|ext| ext.content_type = Some(Cow::Owned(content_type)))
    }

    /// With this [`tag`](Self::tag).
    ///
    /// # Errors
    /// As [`with_key`](Self::with_key).
    pub fn with_tag(self, tag: impl Into<String>) -> Result<Self, ExtError> {
        let tag = tag.into();
        self.with_field(|ext| ext.tag = Some(Cow::Owned(tag)))
    }

    /// With a name of the caller's own, in place of an earlier value of it.
    ///
    /// # Errors
    /// As [`with_key`](Self::with_key); or if the name is empty or longer than 255 octets, or one of the extension header's,
    /// or there are more than [`Ext::MAX_OWN`] of them.
    pub fn with(
        self,
        name: impl Into<String>,
        value: impl Into<Vec<u8>>,
    ) -> Result<Self, ExtError> {
        let (name, value) = (name.into(), value.into());
        self.with_field(|ext| {
            ext.other.retain(|(known, _)| *known != name);
            ext.other.push((Cow::Owned(name), Cow::Owned(value)));
        })
    }

    fn with_field(self, change: impl FnOnce(&mut Ext<'static>)) -> Result<Self, ExtError> {
        let mut fields = self.0.unwrap_or_default();
        change(Arc::make_mut(&mut fields));
        let octets = fields.encode()?.len();
        match octets <= Headers::MAX {
            true => Ok(Headers(Some(fields))),
            false => Err(ExtError::TooLong(octets)),
        }
    }

    /// Those of a request that came.
    pub(crate) fn of(ext: &Ext<'_>) -> Self {
        let none = ext.key.is_none()
            && ext.trace.is_none()
            && ext.content_type.is_none()
            && ext.tag.is_none()
            && ext.other.is_empty();
        if none {
            return Headers(None);
        }
        let fields = Ext {
            key: ext.key.clone(),
            trace: ext.trace.clone(),
            content_type: ext.content_type.clone(),
            tag: ext.tag.clone(),
            other: ext.other.clone(),
            ..Ext::default()
        };
        Headers(Some(Arc::new(fields.into_owned())))
    }

    /// A header that holds these and nothing else.
    pub(crate) fn to_ext(&self) -> Ext<'static> {
        self.0.as_deref().cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_read_and_bounded() {
        let headers = Headers::new()
            .with_key("account 7")
            .and_then(|headers| headers.with_trace("00-1-2-01"))
            .and_then(|headers| headers.with_content_type("text/plain"))
            .and_then(|headers| headers.with_tag("blue"))
            .and_then(|headers| headers.with("own", "1"))
            .and_then(|headers| headers.with("own", "2"))
            .unwrap();
        let read = Headers::of(&headers.to_ext());
        assert_eq!(read, headers);
        assert_eq!(read.key(), Some(&b"account 7"[..]));
        assert_eq!(
            (read.trace(), read.tag()),
            (Some("00-1-2-01"), Some("blue"))
        );
        assert_eq!(read.content_type(), Some("text/plain"));
        assert_eq!(read.other("own"), Some(&b"2"[..]));
        assert_eq!(read.other("else"), None);
        assert_eq!(
            headers.clone().with("dl", "1"),
            Err(ExtError::Twice("dl")),
            "that is for the deadline"
        );
        assert!(headers.clone().with("x".repeat(256), "1").is_err());
        let long = headers.with("long", vec![0; Headers::MAX]);
        assert!(matches!(long, Err(ExtError::TooLong(_))));
        assert!(Headers::of(&Ext::default()).is_empty());
    }
}
