//! The sockets that requests come in on, bound while the process may still take any port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use anyhow::Context as _;

/// Binds `address`; with a loopback address, the other family's loopback too where there is one, since
/// `*.localhost` resolves to either. `option` is what an operator says to choose another.
pub(crate) fn bind(address: SocketAddr, option: &str) -> anyhow::Result<Vec<TcpListener>> {
    let first = TcpListener::bind(address).with_context(|| {
        format!("{address} cannot be listened on; end what uses it, or choose another address with {option}")
    })?;
    let port = first.local_addr()?.port();
    let mut listeners = vec![first];
    let twin = match address.ip() {
        IpAddr::V4(Ipv4Addr::LOCALHOST) => Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        IpAddr::V6(Ipv6Addr::LOCALHOST) => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        _ => None,
    };
    if let Some(twin) = twin {
        // A machine without this family, or another program on that port, is no reason not to serve.
        listeners.extend(TcpListener::bind((twin, port)).ok());
    }
    for listener in &listeners {
        listener.set_nonblocking(true)?;
    }
    Ok(listeners)
}
