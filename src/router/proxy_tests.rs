//! Cases of the proxy that need a hand on the connections.

use crate::{AppRoute, Backend, Listener, Router, Shutdown, Table, Traffic, proxy::Body, upstream};
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
    router: Arc<Router>,
    traffic: Arc<Traffic>,
    _dir: tempfile::TempDir,
}

/// A router with one app, `shop.localhost`, that has one dyno at `dyno`.
async fn world(dyno: SocketAddr) -> World {
    let dir = tempfile::tempdir().expect("dir");
    let logs = Logs::open(dir.path(), logs::Limits::default()).expect("logs");
    let control = Arc::new(|_, _| -> crate::ControlFuture {
        Box::pin(async { Response::new(Full::default().map_err(|never| match never {}).boxed_unsync()) })
    });
    let router = Router::new("localhost".into(), control, logs);
    let backend = Backend::new(Uuid::from_u128(1).into(), "web.1".into(), dyno);
    let traffic = Arc::default();
    assert!(router.publish(table(1, vec![backend.clone()], &traffic)));
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("socket");
    let address = socket.local_addr().expect("address");
    let listener = Listener { socket, proto: "http", port: address.port(), doors: None };
    tokio::spawn(listener.serve(router.clone(), Shutdown::new(), Duration::ZERO));
    World { address, backend, router, traffic, _dir: dir }
}

/// A table with `shop.localhost`, asleep without a dyno.
fn table(generation: u64, backends: Vec<Arc<Backend>>, traffic: &Arc<Traffic>) -> Table {
    let route = AppRoute {
        app: Uuid::from_u128(2).into(),
        name: "shop".into(),
        maintenance: false,
        deployed: true,
        wants_web: true,
        starting: backends.is_empty(),
        asleep: backends.is_empty(),
        https_redirect: false,
        hsts: false,
        traffic: traffic.clone(),
        backends,
    };
    let hosts = [("shop.localhost".to_string(), Arc::new(route))].into();
    Table { generation, hosts, ..Table::default() }
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

#[tokio::test]
async fn a_request_to_a_sleeping_app_is_held_asks_once_and_is_served_when_it_is_awake() {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("socket");
    let world = Arc::new(world(socket.local_addr().expect("address")).await);
    serve(socket);
    assert!(world.router.publish(table(2, Vec::new(), &world.traffic)));
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.get().await })
        })
        .collect();
    tokio::time::timeout(Duration::from_secs(30), world.traffic.wake_asked()).await.expect("the engine is asked");
    assert!(world.traffic.wake_is_wanted());
    // A table that changes nothing for the app wakes nobody up and asks nobody again.
    assert!(world.router.publish(table(3, Vec::new(), &world.traffic)));
    assert!(world.router.publish(table(4, vec![world.backend.clone()], &world.traffic)));
    for answer in waiting {
        assert!(answer.await.expect("task").starts_with("HTTP/1.1 200"));
    }
    assert!(world.traffic.seen().last > domain::UnixMs(0));
    let again = tokio::time::timeout(Duration::from_millis(10), world.traffic.wake_asked()).await;
    assert!(again.is_err(), "asked once");
}
