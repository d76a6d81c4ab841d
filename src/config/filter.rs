//! Who may connect: address prefixes for tcp, kernel credentials for ipc.
//!
//! Lists of what is allowed. An empty list allows everyone; of several entries one has to match.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// Addresses that begin with the same bits, such as `192.0.2.0/24`.
///
/// IPv4 peers of an IPv6 listener are IPv4 peers, and a prefix within `::ffff:0:0/96` is the IPv4 prefix
/// it stands for. A prefix of 0 bits holds every address, of either family. Bits behind the prefix are
/// ignored.
///
/// ```
/// use sinew::IpPrefix;
///
/// let office: IpPrefix = "192.0.2.0/24".parse()?;
/// assert!(office.contains("192.0.2.7".parse().unwrap()));
/// assert!(!office.contains("192.0.3.7".parse().unwrap()));
/// // Without a length, one address.
/// let one: IpPrefix = "2001:db8::1".parse()?;
/// assert_eq!(one.to_string(), "2001:db8::1/128");
/// # Ok::<(), sinew::InvalidPrefix>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IpPrefix {
    /// Bits behind the prefix are zero; never an IPv4 address in IPv6 form.
    network: IpAddr,
    bits: u8,
}

/// Text or numbers that make no [`IpPrefix`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{given}` is no address prefix: expected an IP address and at most its number of bits, such as `192.0.2.0/24`")]
pub struct InvalidPrefix {
    given: Box<str>,
}

/// Which processes may connect over ipc.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct IpcFilters {
    pub(crate) pids: Vec<u32>,
    pub(crate) uids: Vec<u32>,
    /// Primary or supplementary.
    pub(crate) gids: Vec<u32>,
}

impl IpPrefix {
    /// The addresses that share their first `bits` bits with `address`: 0 to 32 for IPv4, 0 to 128 for
    /// IPv6.
    ///
    /// # Errors
    /// If there are more bits than the address has.
    pub fn new(address: IpAddr, bits: u8) -> Result<Self, InvalidPrefix> {
        let invalid = || InvalidPrefix {
            given: format!("{address}/{bits}").into(),
        };
        match address {
            IpAddr::V4(v4) => IpPrefix::v4(v4, bits).ok_or_else(invalid),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) if (V4_MAPPED_BITS..=128).contains(&bits) => {
                    IpPrefix::v4(v4, bits - V4_MAPPED_BITS).ok_or_else(invalid)
                }
                _ => {
                    let mask = match bits {
                        0 => 0,
                        1..=128 => u128::MAX << (128 - u32::from(bits)),
                        _ => return Err(invalid()),
                    };
                    Ok(IpPrefix {
                        network: Ipv6Addr::from(u128::from(v6) & mask).into(),
                        bits,
                    })
                }
            },
        }
    }

    fn v4(address: Ipv4Addr, bits: u8) -> Option<Self> {
        let mask = match bits {
            0 => 0,
            1..=32 => u32::MAX << (32 - u32::from(bits)),
            _ => return None,
        };
        Some(IpPrefix {
            network: Ipv4Addr::from(u32::from(address) & mask).into(),
            bits,
        })
    }

    /// Whether the address begins with these bits.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if self.bits == 0 {
            return true;
        }
        // Of the other family it is a prefix of its own, which is never equal.
        IpPrefix::new(address, self.bits).is_ok_and(|prefix| prefix.network == self.network)
    }
}

impl FromStr for IpPrefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        let parsed = || {
            let (address, bits) = match text.split_once('/') {
                Some((address, bits)) => (address, Some(bits)),
                None => (text, None),
            };
            let address: IpAddr = address.parse().ok()?;
            let bits = match bits {
                // Digits only: `parse` alone takes a sign.
                Some(bits) if bits.bytes().all(|b| b.is_ascii_digit()) => bits.parse().ok()?,
                Some(_) => return None,
                None if address.is_ipv4() => 32,
                None => 128,
            };
            IpPrefix::new(address, bits).ok()
        };
        parsed().ok_or_else(|| InvalidPrefix { given: text.into() })
    }
}

impl From<IpAddr> for IpPrefix {
    /// The prefix that holds this one address.
    fn from(address: IpAddr) -> Self {
        let network = address.to_canonical();
        let bits = if network.is_ipv4() { 32 } else { 128 };
        IpPrefix { network, bits }
    }
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.bits)
    }
}

impl IpcFilters {
    /// Whether anyone may connect.
    pub(crate) fn is_empty(&self) -> bool {
        self.pids.is_empty() && self.uids.is_empty() && self.gids.is_empty()
    }
}

/// The prefix of IPv4 addresses in IPv6 form.
const V4_MAPPED_BITS: u8 = 96;

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::IpPrefix;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn prefixes_hold_what_begins_like_them() {
        for (prefix, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("10.1.2.3/31", "10.1.2.2", "10.1.2.4"),
            ("fe80::/10", "febf::1", "fec0::1"),
            ("::1", "::1", "::2"),
            ("::ffff:10.0.0.0/104", "10.9.9.9", "11.0.0.1"),
            ("127.0.0.0/8", "::ffff:127.0.0.1", "::1"),
            ("::/1", "::1", "10.0.0.1"),
        ] {
            let parsed: IpPrefix = prefix.parse().unwrap();
            assert!(parsed.contains(ip(inside)), "{prefix} {inside}");
            assert!(!parsed.contains(ip(outside)), "{prefix} {outside}");
        }
        for any in ["0.0.0.0/0", "::/0", "192.0.2.1/0"] {
            let any: IpPrefix = any.parse().unwrap();
            assert!(any.contains(ip("1.2.3.4")) && any.contains(ip("fe80::1")));
        }
        assert_eq!(
            IpPrefix::from(ip("::ffff:1.2.3.4")).to_string(),
            "1.2.3.4/32"
        );
    }

    #[test]
    fn what_is_no_prefix_is_named() {
        for text in [
            "",
            "/",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0/8",
            "localhost",
            "10.0.0.0/8/8",
            "10.0.0.0/08x",
            "[::1]/128",
            "10.0.0.0/256",
            " 10.0.0.1",
        ] {
            let error = text.parse::<IpPrefix>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`{text}` is no address prefix")),
                "{error}"
            );
        }
        assert!(IpPrefix::new(ip("1.2.3.4"), 33).is_err());
        assert!(IpPrefix::new(ip("::1"), 129).is_err());
    }

    proptest! {
        #[test]
        fn bits_are_compared_one_by_one(a: u32, flip in 0u32..32, bits in 0u8..=32) {
            let prefix = IpPrefix::new(Ipv4Addr::from(a).into(), bits).unwrap();
            let other = Ipv4Addr::from(a ^ (1 << (31 - flip)));
            prop_assert_eq!(prefix.contains(other.into()), flip >= u32::from(bits));
            prop_assert_eq!(prefix.to_string().parse::<IpPrefix>().unwrap(), prefix);
        }

        #[test]
        fn so_are_those_of_ipv6(a: u128, flip in 0u32..128, bits in 0u8..=128) {
            let a = a | 1 << 127; // Not an IPv4 address in disguise.
            let prefix = IpPrefix::new(Ipv6Addr::from(a).into(), bits).unwrap();
            let other = Ipv6Addr::from(a ^ (1 << (127 - flip)));
            prop_assert_eq!(prefix.contains(other.into()), flip >= u32::from(bits));
        }
    }
}
