//! Cases of the proxy that need a hand on the connections.

use crate::{AppRoute, Backend, Listener, Router, Shutdown, Table, proxy::Body, upstream};
use http::Response;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use logs::Logs;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use uuid::Uuid;

struct World {
    address: SocketAddr,
    backend: Arc<Backend>,
    _dir: tempfile::TempDir,
}

/// A router with one app, `shop.localhost`, that has one dyno at `dyno`.
async fn world(dyno: SocketAddr) -> World {
    let dir = tempfile::tempdir().expect("dir");
    let logs = Logs::open(dir.path()).expect("logs");
    let control = Arc::new(|_, _| -> crate::ControlFuture {
        Box::pin(async { Response::new(Full::default().map_err(|never| match never {}).boxed_unsync()) })
    });
    let router = Router::new("localhost".into(), control, logs);
    let backend = Backend::new(Uuid::from_u128(1).into(), "web.1".into(), dyno);
    let route = AppRoute {
        app: Uuid::from_u128(2).into(),
        name: "shop".into(),
        maintenance: false,
        deployed: true,
        wants_web: true,
        starting: false,
        backends: vec![backend.clone()],
    };
    let hosts = [("shop.localhost".to_string(), Arc::new(route))].into();
    assert!(router.publish(Table { generation: 1, hosts, ..Table::default() }));
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("socket");
    let address = socket.local_addr().expect("address");
    let listener = Listener { socket, proto: "http", port: address.port(), doors: None };
    tokio::spawn(listener.serve(router, Shutdown::new(), Duration::ZERO));
    World { address, backend, _dir: dir }
}

impl World {
    /// The head of the answer to one request.
    async fn get(&self) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("router");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n").await.expect("sent");
        let mut text = String::new();
        tokio::time::timeout(Duration::from_secs(30), stream.read_to_string(&mut text)).await.expect("in time").expect("read");
        text
    }
}

/// Answers one request on each connection.
fn serve(socket: TcpListener) {
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                let _ = stream.read(&mut [0; 4096]).await;
            });
        }
    });
}

#[tokio::test]
async fn a_request_waits_for_the_quarantine_of_the_only_dyno_and_no_longer() {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("socket");
    let dyno = socket.local_addr().expect("address");
    drop(socket); // refuses
    let world = world(dyno).await;
    assert!(world.get().await.starts_with("HTTP/1.1 503"), "refused");
    serve(TcpListener::bind(dyno).await.expect("the port is free again"));
    assert!(world.get().await.starts_with("HTTP/1.1 200"), "served when the quarantine is over, not after 75 s");
}

#[tokio::test]
async fn a_request_on_a_connection_that_is_just_closing_is_sent_on_another() {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("socket");
    let world = world(socket.local_addr().expect("address")).await;
    serve(socket);
    // A connection that looked alive when it was taken and is closed before the request is on it.
    let (ours, _theirs) = tokio::io::duplex(1024);
    let (sender, connection) = hyper::client::conn::http1::handshake::<_, Body>(TokioIo::new(ours)).await.expect("handshake");
    let mut connection = Box::pin(connection);
    std::future::poll_fn(|cx| {
        assert!(connection.as_mut().poll(cx).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    world.backend.pool.put(sender);
    let closing = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await; // the request waits in it by then
        drop(connection);
    });
    assert!(world.get().await.starts_with("HTTP/1.1 200"));
    closing.await.expect("closed");
    assert!(upstream::connect(world.backend.address).await.is_ok());
}
