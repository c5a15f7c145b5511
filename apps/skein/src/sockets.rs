//! The kernel's tables of TCP sockets: who listens on a port, and whose a connection of this machine is. Linux
//! shows them under `/proc`; elsewhere nothing is known.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
};

/// A socket of the kernel's table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Socket {
    pub(crate) uid: u32,
    pub(crate) inode: u64,
}

/// The socket that listens (state 0A) on the port, in the kernel's table.
pub(crate) fn listening(table: &str, port: u16) -> Option<Socket> {
    let suffix = format!(":{port:04X}");
    find(table, |local, state| local.ends_with(&suffix) && state == "0A")
}

/// The first socket of the kernel's table whose own address and state are these.
fn find(table: &str, is_it: impl Fn(&str, &str) -> bool) -> Option<Socket> {
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let [_, local, _, state, _, _, _, uid, _, inode, ..] = columns[..] else { return None };
        let socket = || Some(Socket { uid: uid.parse().ok()?, inode: inode.parse().ok()? });
        if is_it(local, state) { socket() } else { None }
    })
}

/// The user whose connection has its end there, on this machine, while it is open.
pub(crate) fn user_at(address: SocketAddr) -> Option<u32> {
    let IpAddr::V4(host) = address.ip().to_canonical() else { return None };
    // As the kernel writes it: the host in the machine's own order.
    let wanted = format!("{:08X}:{:04X}", u32::from_ne_bytes(host.octets()), address.port());
    let mapped = format!("0000000000000000FFFF0000{wanted}");
    let in_table = |(path, wanted): (&str, &str)| {
        let table = fs::read_to_string(path).ok()?;
        find(&table, |local, state| local == wanted && state == "01").map(|it| it.uid)
    };
    [("/proc/net/tcp", &*wanted), ("/proc/net/tcp6", &*mapped)].into_iter().find_map(in_table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_listening_socket_counts() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1BBD 0100007F:C000 01 00000000:00000000 00:00000000 00000000  1000        0 111 1\n\
            1: 0100007F:1BBD 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 222 1\n";
        assert_eq!(listening(table, 7_101), Some(Socket { uid: 1_001, inode: 222 }));
        assert_eq!(listening(table, 7_102), None);
    }
}
