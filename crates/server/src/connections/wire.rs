//! A socket that counts its bytes, notes when the client stops taking them, and does not cut off a client that is still sending
//! when it is refused.
//!
//! Closing a socket with unread bytes resets the connection, and the client loses the response that says what was wrong. So
//! the sending side is closed first and what still comes is thrown away, within bounds.

use std::io::{IoSlice, Result};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::link::Link;

/// Bytes thrown away at most: well above the largest body a client sends by mistake, and still nothing for the network.
const LINGER_BYTES_MAX: u64 = 64 << 20;
/// Bytes read at once while throwing away.
const LINGER_CHUNK_BYTES: usize = 16 << 10;

/// Head and body of a response up to this size are copied into one piece: the system takes one small piece faster than two.
const GATHERED_BYTES_MAX: usize = 4 << 10;

/// The socket of a connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    link: Arc<Link>,
    is_shut: bool,
    linger_bytes_left: u64,
}

impl Wire {
    /// Takes the connection off its list when it is dropped.
    pub fn new(stream: TcpStream, link: Arc<Link>) -> Self {
        Wire { stream, link, is_shut: false, linger_bytes_left: LINGER_BYTES_MAX }
    }

    fn written(&self, written: Poll<Result<usize>>) -> Poll<Result<usize>> {
        match &written {
            Poll::Ready(Ok(bytes)) => self.link.sent(*bytes),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.link.stalled(),
        }
        written
    }

    /// Throws away what the client sends until it ends, or the bound is reached.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut chunk = [MaybeUninit::uninit(); LINGER_CHUNK_BYTES];
        while self.linger_bytes_left > 0 {
            let mut buffer = ReadBuf::uninit(&mut chunk);
            let read = Pin::new(&mut self.stream).poll_read(context, &mut buffer);
            let bytes = buffer.filled().len();
            match read {
                Poll::Pending => {
                    self.link.lingers();
                    return Poll::Pending;
                }
                Poll::Ready(Ok(())) if bytes > 0 => {
                    self.link.received(bytes);
                    self.linger_bytes_left = self.linger_bytes_left.saturating_sub(bytes as u64);
                }
                Poll::Ready(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Copies several slices into one piece, where they fit into it.
fn gather(slices: &[IoSlice<'_>], piece: &mut ReadBuf<'_>) -> bool {
    let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
    let is_worth_it = slices.len() > 1 && bytes <= piece.remaining();
    if is_worth_it {
        slices.iter().for_each(|slice| piece.put_slice(slice));
    }
    is_worth_it
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.link.home().remove(&self.link);
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.link.received(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let mut room = [MaybeUninit::uninit(); GATHERED_BYTES_MAX];
        let mut gathered = ReadBuf::uninit(&mut room);
        let written = if gather(slices, &mut gathered) {
            Pin::new(&mut self.stream).poll_write(context, gathered.filled())
        } else {
            Pin::new(&mut self.stream).poll_write_vectored(context, slices)
        };
        self.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        if !self.is_shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.is_shut = true;
        }
        if self.link.must_linger() { self.poll_linger(context) } else { Poll::Ready(Ok(())) }
    }
}
