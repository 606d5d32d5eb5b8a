//! The listener: takes connections, serves each in a task of its own, and stops.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::link::{Ending, Link};
use super::requests::answer;
use super::talk::{Talk, Transport};
use super::wire::Wire;
use super::{Connections, Refusal, SWEEP_INTERVAL, Served};
use crate::front::Front;

/// Pause after the system refused to give a connection, mostly because too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that are told at once that the server is full; any more are closed without a word.
const REFUSALS_AT_ONCE_MAX: usize = 128;
/// Longest time for telling one.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Headers of a request that the HTTP library takes where it is told no other number.
const LIBRARY_HEADERS_MAX: usize = 100;
/// What a client reads when all places are taken. It is written without reading what was asked, so it costs next to nothing.
const FULL: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
    connection: close\r\ncontent-length: 175\r\n\r\n\
    {\"type\":\"urn:tidewater:problem:overloaded\",\"title\":\"Service Unavailable\",\"status\":503,\
    \"detail\":\"the server has as many connections as it takes; try again\",\"code\":\"overloaded\"}";

/// A listener at work.
pub struct Listening {
    connections: Arc<Connections>,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
    sweeping: JoinHandle<()>,
    watching: Option<JoinHandle<()>>,
}

/// Begins to take connections.
pub fn listen(listener: TcpListener, front: Front, connections: Arc<Connections>) -> Listening {
    super::files::raise_limit(connections.limits().connections_max);
    let (stop, stopped) = watch::channel(false);
    let server = Arc::new(Server {
        builder: builder(&connections),
        front,
        connections: Arc::clone(&connections),
        refusals: Arc::new(Semaphore::new(REFUSALS_AT_ONCE_MAX)),
    });
    let swept = Arc::clone(&connections);
    let sweeping = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            swept.sweep();
        }
    });
    let accepting = tokio::spawn(server.accept(listener, stopped));
    let watching = connections.tls.clone().map(|tls| tokio::spawn(tls.watch()));
    Listening { connections, stop, accepting, sweeping, watching }
}

impl Listening {
    /// Takes no more connections and waits until the running requests are answered, at most for `drain`; false where some were cut
    /// off.
    pub async fn stop(self, drain: Duration) -> bool {
        let _ = self.stop.send(true);
        // It ends at once; an error means that it has.
        let _ = self.accepting.await;
        self.connections.end_all(Ending::Finish);
        let is_clean = tokio::time::timeout(drain, self.connections.idle()).await.is_ok();
        self.connections.end_all(Ending::Drop);
        self.sweeping.abort();
        if let Some(watching) = self.watching {
            watching.abort();
        }
        is_clean
    }
}

/// HTTP/1.1 and HTTP/2 with the limits of the configuration.
fn builder(connections: &Connections) -> Builder<TokioExecutor> {
    let limits = connections.limits();
    let mut builder = Builder::new(TokioExecutor::new());
    // Time limits are the sweep's.
    builder.http1().header_read_timeout(None).max_buf_size(limits.head_bytes_max);
    // Told its own limit, the library would clear a list of that length for every request.
    if limits.headers_max != LIBRARY_HEADERS_MAX {
        builder.http1().max_headers(limits.headers_max);
    }
    // Floods of reset streams are answered by the library's own bounds, which end the connection.
    builder
        .http2()
        .max_concurrent_streams(limits.h2_streams_max)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX));
    builder
}

/// What all connections share.
struct Server {
    builder: Builder<TokioExecutor>,
    front: Front,
    connections: Arc<Connections>,
    refusals: Arc<Semaphore>,
}

impl Server {
    async fn accept(self: Arc<Self>, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                // An error means that the sender is gone, which is a stop too.
                _ = stopped.wait_for(|stopped| *stopped) => return,
            };
            match accepted {
                Ok((stream, peer)) => self.take(stream, peer),
                Err(error) if is_of_one_connection(error.kind()) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn take(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        // Small replies go out at once instead of waiting for the client's acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        match self.connections.admit(peer) {
            Some(link) => {
                let served = Served::one(&self.connections);
                let server = Arc::clone(self);
                tokio::spawn(async move {
                    server.serve(stream, link).await;
                    drop(served);
                });
            }
            None => self.refuse(stream),
        }
    }

    async fn serve(&self, stream: TcpStream, link: Arc<Link>) {
        let wire = Wire::new(stream, Arc::clone(&link));
        let Some(transport) = self.encrypt(wire, &link).await else { return };
        let talk = Talk::new(transport, Arc::clone(&link));
        let front = self.front.of_connection();
        let requests = service_fn(|request| {
            // Boxed, so that an idle connection does not hold the room that a request needs.
            Box::pin(answer(&front, &link, request))
        });
        let mut connection = pin!(self.builder.serve_connection_with_upgrades(TokioIo::new(talk), requests));
        loop {
            tokio::select! {
                // In this order; drawing lots each time takes longer than the look.
                biased;
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, peer = %link.peer, "a connection ended early");
                    }
                    return;
                }
                ending = link.ending() => match ending {
                    Ending::Finish => connection.as_mut().graceful_shutdown(),
                    Ending::Drop => return,
                },
            }
        }
    }

    /// The handshake, where connections are encrypted; none where it failed.
    async fn encrypt(&self, wire: Wire, link: &Link) -> Option<Transport> {
        let Some(tls) = &self.connections.tls else { return Some(Transport::Plain(wire)) };
        let patience = Duration::from_millis(self.connections.limits().patience.head_ms);
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(patience, tls.acceptor().accept(wire)) => shaken,
            _ = link.ending() => return None,
        };
        if let Ok(Ok(stream)) = shaken {
            return Some(Transport::Tls(Box::new(stream)));
        }
        self.connections.count(Refusal::Tls);
        tracing::debug!(peer = %link.peer, "a connection ended before its handshake did");
        None
    }

    /// Says that the server is full. The client's request is read and thrown away, so that the answer is not lost.
    fn refuse(&self, mut stream: TcpStream) {
        if self.connections.tls.is_some() {
            // A handshake is dearer than an answer.
            return;
        }
        let Ok(place) = Arc::clone(&self.refusals).try_acquire_owned() else { return };
        tokio::spawn(async move {
            let told = async {
                stream.write_all(FULL.as_bytes()).await?;
                stream.shutdown().await?;
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
            };
            // Whether it was heard makes no difference here.
            let _ = tokio::time::timeout(REFUSAL_TIMEOUT, told).await;
            drop(place);
        });
    }
}

/// Whether the client gave up before its connection was taken; the next one may be fine.
fn is_of_one_connection(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_is_a_whole_response() {
        let (head, body) = FULL.split_once("\r\n\r\n").expect("head and body");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{} in {head}", body.len());
        let problem: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(problem["status"], 503);
    }
}
