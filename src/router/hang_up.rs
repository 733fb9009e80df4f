//! Whether the other end of a connection has gone, seen without reading.

use socket2::{SockRef, TcpKeepalive};
use std::{io, os::fd::AsFd, time::Duration};
use tokio::{io::Interest, net::TcpStream};

/// A silent peer is asked so often whether it is still there. One whose system says no is gone; one that is out of reach may
/// come back for as long as attached clients may be idle anyway.
const ASK_EVERY: Duration = Duration::from_secs(60);
const ASK_TIMES: u32 = 60;

/// A watch on a socket that somebody else reads. It keeps the socket open: drop it with the stream.
pub struct HangUp(TcpStream);

impl HangUp {
    /// Watches `socket` from now on.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn of(socket: &TcpStream) -> io::Result<Self> {
        // A peer that was killed with data on its way says no more to us while we do not read. Its system does, when asked.
        let asks = TcpKeepalive::new().with_time(ASK_EVERY).with_interval(ASK_EVERY).with_retries(ASK_TIMES);
        SockRef::from(socket).set_tcp_keepalive(&asks)?;
        TcpStream::from_std(socket.as_fd().try_clone_to_owned()?.into()).map(Self)
    }

    /// Returns when the peer has closed its side, or the connection is broken. Data before that may still wait to be read.
    pub async fn happened(&self) {
        loop {
            match self.0.ready(Interest::READABLE).await {
                Ok(ready) if ready.is_read_closed() => return,
                // Forgets that there is data, until more comes.
                Ok(_) => drop(self.0.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()))),
                Err(_) => return, // the runtime ends
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    #[tokio::test]
    async fn unread_data_is_no_end_and_an_end_behind_it_is_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let watch = HangUp::of(&server).unwrap();
        client.write_all(&[7; 1000]).await.unwrap();
        server.readable().await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(100), watch.happened()).await;
        assert!(early.is_err(), "it is still there");
        drop(client);
        tokio::time::timeout(Duration::from_secs(10), watch.happened()).await.unwrap();
    }
}
