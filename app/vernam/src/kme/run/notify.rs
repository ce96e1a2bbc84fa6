//! Tells systemd how the service stands: `sd_notify(3)`, which is a datagram to the socket in `$NOTIFY_SOCKET`.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::time::{ClockId, clock_gettime};

/// It serves (after the start, and after each reload).
pub(super) fn ready() {
    tell("READY=1\nSTATUS=serving");
}

/// It reads its configuration anew; [`ready`] follows.
pub(super) fn reloading() {
    let now = clock_gettime(ClockId::Monotonic);
    let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
}

/// It ends.
pub(super) fn stopping() {
    tell("STOPPING=1\nSTATUS=finishing requests under way");
}

fn tell(message: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, message) {
        tracing::warn!(%error, "systemd cannot be told how the service stands");
    }
}

fn send(socket: &OsStr, message: &str) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address).map(|_sent| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let len = socket.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    }

    #[test]
    fn both_kinds_of_socket() {
        let tmp = tempfile::tempdir().expect("a folder");
        let path = tmp.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        send(path.as_os_str(), "READY=1").expect("it is there");
        assert_eq!(received(&socket), "READY=1");
        let name = format!("vernam-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        send(OsStr::new(&format!("@{name}")), "STOPPING=1").expect("it is there");
        assert_eq!(received(&socket), "STOPPING=1");
        assert!(send(OsStr::new("/nonexistent/socket"), "x").is_err());
    }
}
