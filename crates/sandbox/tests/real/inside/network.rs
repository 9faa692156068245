//! Networks, which serve one sandbox after the other.

use std::io::Write;
use std::net::TcpListener;

use super::{Case, Server, cases};

pub(super) const CASES: &[Case] = cases![nothing_of_a_network_stays, a_listener_that_is_kept_is_in_nobodys_way,];

/// Leaves connections that it has closed itself, of a port that it has listened at, and an abstract name.
const USE: &str = "import socket
listener = socket.socket()
listener.bind(('127.0.0.1', 8080))
listener.listen(64)
held = []
for _ in range(50):
    client = socket.create_connection(('127.0.0.1', 8080))
    server, _ = listener.accept()
    client.sendall(b'x'); server.recv(1)
    server.close(); client.close()
for _ in range(10): held.append(socket.create_connection(('127.0.0.1', 8080)))
name = socket.socket(socket.AF_UNIX)
name.bind('\\0name'); name.listen()
";

/// Shows every socket but the listener of the Runtime API, and takes the port and the name.
const LOOK: &str = "import socket
def sockets(kind):
    lines = open(f'/proc/self/net/{kind}').read().splitlines()[1:]
    return [line for line in lines if '0100007F:2329 00000000:0000 0A' not in line]
print(sockets('tcp'), sockets('tcp6'), sockets('udp'), [l for l in sockets('unix') if '@' in l])
listener = socket.socket()
listener.bind(('127.0.0.1', 8080))
name = socket.socket(socket.AF_UNIX)
name.bind('\\0name')
print('free')
";

async fn nothing_of_a_network_stays(server: Server) {
    for _ in 0..4 {
        // The slot that was given back last is taken first.
        assert_eq!(server.output_of(USE).await, "");
        assert_eq!(server.output_of(LOOK).await, "[] [] [] []\nfree\n");
    }
}

async fn a_listener_that_is_kept_is_in_nobodys_way(server: Server) {
    let mut kept = Vec::new();
    for number in 0..4_u8 {
        let script = "import socket
print(socket.create_connection(('127.0.0.1', 9001)).recv(1)[0])";
        let mut guest = server.python(script).await;
        let listener = TcpListener::from(guest.listener.try_clone().unwrap());
        listener.set_nonblocking(false).unwrap();
        // The others' would answer with their own number, or not at all.
        let accepted = tokio::task::spawn_blocking(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&[number]).unwrap();
            listener
        });
        assert_eq!(guest.ended().await.output, format!("{number}\n"));
        kept.push(accepted.await.unwrap());
        guest.end().await;
    }
}
