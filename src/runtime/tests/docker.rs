//! The Docker driver with a real engine: the contract, and what only this driver has. Needs root and an engine
//! (`tests/docker-engine` starts one); elsewhere it says so.
#![allow(missing_docs, clippy::unwrap_used)]

mod contract;

use contract::{World, contract, folder};
use domain::DynoId;
use runtime::{
    Runtime,
    docker::{DockerRuntime, Options, Sweep},
    native::network::{DEFAULT_SUBNET, own::OwnNetwork},
};
use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// The engine's socket and an image with bash and Python.
fn engine() -> Option<(PathBuf, String)> {
    let found = std::env::var_os("TIDEMILL_TEST_DOCKER").zip(std::env::var("TIDEMILL_TEST_IMAGE").ok());
    if found.is_none() {
        println!("SKIPPED: the docker driver's tests need an engine; see tests/docker-engine");
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI");
    }
    found.map(|(socket, image)| (socket.into(), image))
}

/// One request to the engine, without the driver's help.
fn ask(socket: &Path, method: &str, path: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: engine\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_string()).unwrap_or_default()
}

fn driver_at(dir: &Path, socket: &Path, image: &str, sweep: Sweep) -> DockerRuntime {
    let options = Options {
        socket: socket.into(),
        run_dir: dir.join("run"),
        base_image: Some(image.into()),
        network: OwnNetwork::set_up(DEFAULT_SUBNET, Vec::new()),
        sweep,
    };
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(DockerRuntime::new(options))).unwrap()
}

fn driver(dir: &Path) -> Arc<dyn Runtime> {
    let (socket, image) = engine().unwrap();
    Arc::new(driver_at(dir, &socket, &image, Sweep { grace: Duration::from_secs(3600), dry_run: false }))
}

fn world() -> Option<World> {
    engine()?;
    let dir = folder();
    let runtime = driver(dir.path());
    Some(World { dir, runtime, reopen: Box::new(driver), freeze, traces: Box::new(traces), fake: None })
}

fn freeze(id: DynoId) {
    let (socket, _) = engine().unwrap();
    assert_eq!(ask(&socket, "POST", &format!("/containers/tidemill-{id}/pause")), "");
}

/// Containers, volumes and folders of the dynos in this folder.
fn traces(dir: &Path) -> Vec<String> {
    let (socket, _) = engine().unwrap();
    let all = ask(&socket, "GET", "/containers/json?all=1") + &ask(&socket, "GET", "/volumes");
    let names =
        fs::read_dir(dir).unwrap().flatten().filter_map(|e| e.file_name().to_str()?.strip_prefix("app-").map(String::from));
    let mut found: Vec<String> = names.filter(|id| all.contains(id)).collect();
    found.extend(fs::read_dir(dir.join("run/dynos")).unwrap().flatten().map(|e| e.path().display().to_string()));
    found.sort();
    found
}

contract!(world);
