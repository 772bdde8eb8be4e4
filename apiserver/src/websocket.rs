//! WebSockets: a connection becomes one after [`handshake`]s that browsers and other clients begin. A watch is then told
//! event by event, each in a message of its own.

pub mod handshake;

use crate::negotiate::Format;
use crate::registry::{WatchReply, next_event};
use crate::request::Incoming;
use crate::response::Body;
use bytes::Bytes;
use futures::{SinkExt, Stream, StreamExt};
pub use handshake::is_requested;
use handshake::{Handshake, NOT_WEBSOCKET, Refusal};
use http::Response;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::pin::pin;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

/// The largest message that a client may send, in bytes.
const MAX_MESSAGE: usize = 64 << 10;
/// What is read from a connection at once.
const READ_BUFFER: usize = 4 << 10;
/// Messages wait for each other up to this size.
const WRITE_BUFFER: usize = 64 << 10;
/// How long a client may take for its part of a WebSocket's end.
const CLOSING: Duration = Duration::from_secs(1);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// A watch whose events are messages: text in JSON, binary in other formats. Answers that the protocol changes, or why not.
pub fn watch(watch: WatchReply, format: Format, incoming: &Incoming) -> Response<Body> {
    begin_watch(watch, format, incoming).unwrap_or_else(Refusal::answer)
}

fn begin_watch(watch: WatchReply, format: Format, incoming: &Incoming) -> Result<Response<Body>, Refusal> {
    let handshake = Handshake::read(&incoming.headers)?;
    handshake.check_origin()?;
    let protocol = handshake.only_protocol()?;
    let upgrade = incoming.upgrade.clone().ok_or(NOT_WEBSOCKET)?;
    let over = watch.over();
    let session = upgrade.run(async move |connection| {
        let mut socket = open(connection).await;
        let code = tell(&mut socket, watch.into_stream(), format).await;
        close(socket, code).await;
    });
    tokio::spawn(async move {
        // Whoever does not read what is written to it must not outlive its watch.
        tokio::select! {
            _ = session => {}
            _ = async { over.await; tokio::time::sleep(CLOSING).await } => {}
        }
    });
    Ok(handshake.accept(protocol))
}

/// The server's end of a WebSocket on a connection whose protocol has changed.
async fn open(connection: TokioIo<Upgraded>) -> Socket {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER);
    WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await
}

/// Sends the events of a watch until it is over or the client closes; gives what to close with. What the client sends means
/// nothing.
async fn tell(socket: &mut Socket, chunks: impl Stream<Item = Bytes>, format: Format) -> CloseCode {
    let mut chunks = pin!(chunks);
    loop {
        // Nothing is read while something is written: the answers to pings would pile up before a client that reads none.
        let told = tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Ping(_))) => socket.flush().await,
                Some(Ok(Message::Close(_))) | None => return CloseCode::Normal,
                Some(Ok(_)) => Ok(()),
                Some(Err(error)) => Err(error),
            },
            chunk = chunks.next() => match chunk {
                Some(chunk) => send(socket, chunk, format).await,
                None => return CloseCode::Normal,
            },
        };
        match told {
            Ok(()) => {}
            Err(Error::Capacity(_)) => return CloseCode::Size,
            Err(Error::Utf8(_)) => return CloseCode::Invalid,
            Err(_) => return CloseCode::Protocol,
        }
    }
}

async fn send(socket: &mut Socket, mut chunk: Bytes, format: Format) -> Result<(), Error> {
    while let Some(event) = next_event(&mut chunk, format) {
        let message = match format {
            Format::Protobuf => Message::Binary(event),
            Format::Json | Format::Yaml => Message::Text(Utf8Bytes::try_from(event)?),
        };
        socket.feed(message).await?;
    }
    socket.flush().await
}

/// Says that nothing follows, or answers the client that said so first, and waits a moment for the client to go.
async fn close(mut socket: Socket, code: CloseCode) {
    let closing = async {
        let _ = socket.close(Some(CloseFrame { code, reason: Utf8Bytes::default() })).await;
        while let Some(Ok(_)) = socket.next().await {}
        let connection = socket.get_mut();
        let _ = connection.shutdown().await;
        // On a connection that is closed before, a client that is still sending may never read why.
        let _ = tokio::io::copy(connection, &mut tokio::io::sink()).await;
    };
    let _ = tokio::time::timeout(CLOSING, closing).await;
}
