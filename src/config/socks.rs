//! The SOCKS5 proxy that tcp connections go through.

use std::fmt;

use super::OptionError;
use crate::endpoint::{Host, HostPort};

/// A SOCKS5 proxy (RFC 1928) for tcp connections that this side makes.
///
/// The name in the endpoint is looked up by the proxy; that of the proxy as usual, and all its addresses
/// are tried. The whole way through the proxy is part of the handshake and under its time limit.
///
/// ```
/// use sinew::{Push, SocksProxy};
///
/// let proxy = SocksProxy::new("proxy.example.org:1080")?.login("me", "secret")?;
/// let push = Push::builder().socks_proxy(proxy).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SocksProxy {
    pub(crate) server: HostPort,
    pub(crate) login: Option<SocksLogin>,
}

/// A name and a password (RFC 1929), each of at most 255 octets.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SocksLogin {
    pub(crate) user: Box<[u8]>,
    pub(crate) password: Box<[u8]>,
}

impl SocksProxy {
    /// The proxy at `host:port`, without a login.
    ///
    /// # Errors
    /// If the text is no host name or address with a port from 1 to 65535.
    pub fn new(address: &str) -> Result<Self, OptionError> {
        let invalid =
            |expected| OptionError::new("socks_proxy", format_args!("{address:?}"), expected);
        let server = HostPort::parse(address).map_err(|_| invalid(EXPECTED))?;
        if server.host == Host::Any || server.port == 0 {
            return Err(invalid(EXPECTED));
        }
        Ok(SocksProxy {
            server,
            login: None,
        })
    }

    /// The same proxy, with a user of 1 to 255 octets and a password of at most 255. They are sent in
    /// the clear. The proxy may also let this side in without asking for them.
    ///
    /// # Errors
    /// If one of them is too long, or there is no user.
    pub fn login(
        mut self,
        user: impl AsRef<[u8]>,
        password: impl AsRef<[u8]>,
    ) -> Result<Self, OptionError> {
        let (user, password) = (user.as_ref(), password.as_ref());
        let octets = |what, len: usize| format!("a {what} of {len} octets");
        if user.is_empty() || user.len() > 255 {
            let given = octets("user", user.len());
            return Err(OptionError::new("socks_proxy", given, "1 to 255 octets"));
        }
        if password.len() > 255 {
            let given = octets("password", password.len());
            return Err(OptionError::new("socks_proxy", given, "at most 255 octets"));
        }
        self.login = Some(SocksLogin {
            user: user.into(),
            password: password.into(),
        });
        Ok(self)
    }
}

/// Without the password.
impl fmt::Debug for SocksProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocksProxy")
            .field("server", &self.server.to_string())
            .field("login", &self.login.is_some())
            .finish()
    }
}

/// Without either.
impl fmt::Debug for SocksLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocksLogin").finish_non_exhaustive()
    }
}

const EXPECTED: &str = "`host:port` with a host name or an address and a port from 1 to 65535";

#[cfg(test)]
mod tests {
    use super::SocksProxy;

    #[test]
    fn bad_proxies_are_named() {
        for text in [
            "",
            "proxy",
            "proxy:",
            "*:1080",
            "proxy:0",
            "proxy:*",
            "proxy:99999",
            "a b:1",
        ] {
            let error = SocksProxy::new(text).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("option `socks_proxy` cannot be {text:?}")),
                "{error}"
            );
        }
        let proxy = SocksProxy::new("[::1]:1080").unwrap();
        assert!(proxy.clone().login("", "x").is_err());
        assert!(proxy.clone().login([b'x'; 256], "").is_err());
        assert!(proxy.clone().login("x", [b'x'; 256]).is_err());
        let proxy = proxy.login([b'x'; 255], "secret").unwrap();
        assert!(!format!("{proxy:?}").contains("secret"));
    }
}
