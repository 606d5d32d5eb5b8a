//! Which address a request comes from: that of the connection, or, behind proxies that the operator trusts, the one they say.
//!
//! `X-Forwarded-For` is read from its end, because only what a trusted proxy has added can be believed: everything before the first
//! address that is no trusted proxy may be made up by the client.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};

/// Entries of `X-Forwarded-For` that are looked at, from the end: more proxies in a row are a mistake or an attack.
const HOPS_MAX: usize = 32;
/// A household or a server has at least this much of IPv6 space, and can send from all of it (RFC 6177).
const IPV6_PREFIX_BITS: u8 = 64;

/// Proxies whose word about their clients counts: addresses and networks, like `127.0.0.1, 10.0.0.0/8`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Proxies(Vec<Network>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("'{text}' is neither an address nor a network; write them like 127.0.0.1 or 10.0.0.0/8")
        };
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(bits_max), str::parse).map_err(|_| wrong())?;
        if bits > bits_max { Err(wrong()) } else { Ok(Network { address, bits }) }
    }
}

impl TryFrom<String> for Proxies {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        names.map(str::parse).collect::<Result<_, _>>().map(Proxies)
    }
}

impl From<Proxies> for String {
    fn from(proxies: Proxies) -> Self {
        proxies.to_string()
    }
}

impl fmt::Display for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Network { address, bits }) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{address}/{bits}")?;
        }
        Ok(())
    }
}

impl Proxies {
    /// The address a request comes from, for a connection from `peer`.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if self.0.is_empty() {
            return client;
        }
        let values = headers.get_all("x-forwarded-for").iter();
        let named: Vec<&str> =
            values.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(',')).collect();
        for name in named.iter().rev().take(HOPS_MAX) {
            if !self.trust(client) {
                break;
            }
            // What does not read stands for nobody: the proxy that passed it on is who is known.
            let Some(address) = address(name.trim()) else { break };
            client = address;
        }
        client
    }

    fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

/// An address as proxies write it, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse::<IpAddr>().ok().or_else(with_port).map(|address| address.to_canonical())
}

/// What stands for all addresses that one client can send from.
pub fn key(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let mask = u128::MAX << (128 - u32::from(IPV6_PREFIX_BITS));
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn only_what_trusted_proxies_add_is_believed() {
        let cases = [
            // (trusted, connection from, X-Forwarded-For, client)
            ("", "9.9.9.9", "1.1.1.1", "9.9.9.9"),
            ("10.0.0.0/8", "9.9.9.9", "1.1.1.1", "9.9.9.9"),
            ("10.0.0.0/8", "10.1.2.3", "1.1.1.1", "1.1.1.1"),
            ("10.0.0.0/8", "10.1.2.3", "6.6.6.6, 1.1.1.1", "1.1.1.1"),
            ("10.0.0.0/8", "10.1.2.3", "6.6.6.6, 1.1.1.1, 10.9.9.9", "1.1.1.1"),
            ("10.0.0.0/8", "10.1.2.3", "10.4.4.4, 10.9.9.9", "10.4.4.4"),
            ("10.0.0.0/8", "10.1.2.3", "1.1.1.1, nonsense", "10.1.2.3"),
            ("10.0.0.0/8", "10.1.2.3", "", "10.1.2.3"),
            ("127.0.0.1, ::1", "::ffff:127.0.0.1", "1.1.1.1:4711", "1.1.1.1"),
            ("127.0.0.1, ::1", "::1", "[2001:db8::1]:443", "2001:db8::1"),
            ("0.0.0.0/0", "8.8.8.8", "1.1.1.1", "1.1.1.1"),
        ];
        for (trusted, peer, forwarded, client) in cases {
            let proxies = Proxies::try_from(trusted.to_owned()).expect("proxies");
            let value = HeaderValue::from_str(forwarded).expect("a header");
            let headers = HeaderMap::from_iter([("x-forwarded-for".parse().expect("a name"), value)]);
            assert_eq!(proxies.client(ip(peer), &headers), ip(client), "{trusted} {peer} {forwarded}");
        }
    }

    #[test]
    fn a_long_chain_is_cut() {
        let proxies = Proxies::try_from("10.0.0.0/8".to_owned()).expect("proxies");
        let chain = format!("1.1.1.1{}", ", 10.0.0.1".repeat(100));
        let value = HeaderValue::from_str(&chain).expect("a header");
        let headers = HeaderMap::from_iter([("x-forwarded-for".parse().expect("a name"), value)]);
        assert_eq!(proxies.client(ip("10.0.0.1"), &headers), ip("10.0.0.1"));
    }

    #[test]
    fn networks_read_and_print() {
        let proxies = Proxies::try_from(" 127.0.0.1,10.0.0.0/8 , 2001:db8::/32".to_owned()).expect("proxies");
        assert_eq!(proxies.to_string(), "127.0.0.1/32, 10.0.0.0/8, 2001:db8::/32");
        for wrong in ["localhost", "10.0.0.0/33", "10.0.0.0/x", "10.0.0"] {
            let error = Proxies::try_from(wrong.to_owned()).expect_err("refused");
            assert!(error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        assert_eq!(key(ip("2001:db8:1:2:3:4:5:6")), ip("2001:db8:1:2::"));
        assert_eq!(key(ip("1.2.3.4")), ip("1.2.3.4"));
    }
}
