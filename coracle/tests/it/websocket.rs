//! A WebSocket client that says of each header what it sends, over TLS.

use coracle::Cluster;
use futures::{SinkExt, StreamExt};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

/// How long anything may take before the test has failed.
const DEADLINE: Duration = Duration::from_secs(30);

/// The headers of a client whose token is `root-token`.
pub const HEADERS: [(&str, &str); 7] = [
    ("host", "localhost"),
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
    ("origin", "https://dashboard.example"),
    ("authorization", "Bearer root-token"),
];

/// An answer's head, in lower case, and the connection behind it.
pub struct Answer {
    pub head: String,
    stream: TlsStream<TcpStream>,
}

async fn connect(cluster: &Cluster) -> TlsStream<TcpStream> {
    let ca = CertificateDer::from_pem_slice(cluster.pki().ca_pem().as_bytes()).expect("a certificate");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca).expect("a root");
    let config = rustls::ClientConfig::builder_with_provider(pki::provider())
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpSocket::new_v4().expect("a socket");
    // Little is on its way to a client that does not read.
    socket.set_recv_buffer_size(8 << 10).expect("a buffer");
    let stream = socket.connect(cluster.address()).await.expect("a connection");
    let name = "localhost".try_into().expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS")
}

/// Asks for a path with [`HEADERS`], of which some are others, several or, when empty, missing.
pub async fn ask(cluster: &Cluster, path: &str, changed: &[(&str, &str)]) -> Answer {
    let mut stream = connect(cluster).await;
    let kept = HEADERS.iter().filter(|(name, _)| changed.iter().all(|(other, _)| other != name));
    let headers = kept.chain(changed.iter().filter(|(_, value)| !value.is_empty()));
    let headers: String = headers.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    stream.write_all(format!("GET {path} HTTP/1.1\r\n{headers}\r\n").as_bytes()).await.expect("a request");
    let mut head = Vec::new();
    let reading = async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("an answer"));
        }
    };
    tokio::time::timeout(DEADLINE, reading).await.expect("an answer in time");
    Answer { head: String::from_utf8_lossy(&head).to_ascii_lowercase(), stream }
}

/// Opens a watch; `query` follows `watch=1`.
pub async fn watch(cluster: &Cluster, path: &str, query: &str, changed: &[(&str, &str)]) -> Watch {
    let answer = ask(cluster, &format!("{path}?watch=1&{query}"), changed).await;
    assert_eq!(answer.code(), 101, "{}", answer.head);
    let socket = WebSocketStream::from_raw_socket(answer.stream, Role::Client, None).await;
    Watch { socket }
}

impl Answer {
    pub fn code(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a code")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The body of an answer, whose length its head says.
    pub async fn body(mut self) -> String {
        let length = self.header("content-length").and_then(|length| length.parse().ok()).expect("a length");
        let mut body = vec![0; length];
        tokio::time::timeout(DEADLINE, self.stream.read_exact(&mut body)).await.expect("an end").expect("a body");
        String::from_utf8(body).expect("text")
    }
}

/// A watch by WebSocket.
pub struct Watch {
    pub socket: WebSocketStream<TlsStream<TcpStream>>,
}

impl Watch {
    /// The next message; `None` when the connection ended, in order or not.
    pub async fn message(&mut self) -> Option<Message> {
        tokio::time::timeout(DEADLINE, self.socket.next()).await.expect("a message in time").and_then(Result::ok)
    }

    /// The next message, which must be text.
    pub async fn text(&mut self) -> String {
        match self.message().await {
            Some(Message::Text(text)) => text.to_string(),
            other => panic!("no text: {other:?}"),
        }
    }

    /// The next event, a text.
    pub async fn event(&mut self) -> Value {
        serde_json::from_str(&self.text().await).expect("an event")
    }

    /// The next event's type and its object's name, as `ADDED web`.
    pub async fn named(&mut self) -> String {
        let event = self.event().await;
        format!("{} {}", event["type"].as_str().unwrap_or("?"), crate::client::name(&event["object"]))
    }

    /// The server's close, after which nothing follows: its code.
    pub async fn closed(mut self) -> u16 {
        let code = match self.message().await {
            Some(Message::Close(Some(CloseFrame { code, .. }))) => code.into(),
            other => panic!("no close: {other:?}"),
        };
        assert_eq!(self.message().await, None);
        code
    }

    pub async fn send(&mut self, message: Message) {
        self.socket.send(message).await.expect("it is sent");
    }
}
