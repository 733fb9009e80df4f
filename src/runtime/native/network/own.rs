//! A network name space for a cage: a pair of virtual interfaces with one address at each end. There is no bridge, so
//! cages share no link, and the kernel's routing table has one route for each.
//!
//! ```text
//! cage: eth0 10.209.a.b  <->  tm-ab (10.209.0.1) :host -- filter, translation --> elsewhere
//! ```

use super::{
    firewall::{self, Firewall},
    resolver,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::{
    Handle, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::{
        address::{AddressAttribute, AddressMessage},
        link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage},
        route::RouteType,
    },
};
use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::{Mutex, mpsc};

/// Name spaces that are made ahead: the kernel needs longer for one than a dyno for its start.
const STOCK: usize = 4;
/// Tries for a free address.
const TRIES: u32 = 100;
/// The kernel's group of messages about changed filter rules (`NFNLGRP_NFTABLES`).
const FILTER_CHANGES: u32 = 7;
/// Name servers and forwarding are looked at this often; nobody tells when they change.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// A storm of changes is answered this seldom.
const CHANGE_PAUSE: Duration = Duration::from_millis(20);

/// Set up on the host; gives cages their network.
pub struct OwnNetwork {
    subnet: [u8; 2],
    firewall: Firewall,
    /// Begun with the first cage, so that a host without cages has no interfaces.
    stock: Mutex<Option<mpsc::Receiver<Result<Space, String>>>>,
}

impl OwnNetwork {
    /// Prepares the host. `public_ports` are those that the whole network may reach on this host, so that cages may, too.
    pub fn set_up(subnet: [u8; 2], public_ports: Vec<u16>) -> Result<Arc<Self>, String> {
        let firewall = Firewall::new(subnet, public_ports)?;
        firewall.load(&resolver().1)?;
        // Without it, what is sent to a cage that has just gone would leave by the default route and wait for an answer.
        apart(move || async move { refuse_unused(&connect()?, subnet).await })?;
        let network = Arc::new(Self { subnet, firewall, stock: Mutex::default() });
        let weak = Arc::downgrade(&network);
        let changes = changes().map_err(|e| format!("netlink: {e}"))?;
        let watch = std::thread::Builder::new().name("firewall".into()).spawn(move || watch(&weak, &changes));
        watch.map_err(|e| e.to_string())?;
        Ok(network)
    }

    /// Gives the network name space of the process `pid` an address, and returns it.
    pub fn attach(&self, pid: i32) -> Result<Ipv4Addr, String> {
        let space = File::open(format!("/proc/{pid}/ns/net")).map_err(|e| format!("network name space: {e}"))?;
        let subnet = self.subnet;
        apart(move || async move { furnish(&connect()?, &home()?, &space, subnet).await })
    }

    /// A name space of the stock, complete with its address; waits when they are taken faster than they are made. None when
    /// the last one could not be made: then the caller makes one and hears the reason.
    pub async fn take(&self) -> Option<Space> {
        let mut stock = self.stock.lock().await;
        if stock.is_none() {
            *stock = self
                .begin_stock()
                .map_err(|e| tracing::warn!(error = %e, "runtime.no_stock: networks are made one by one"))
                .ok();
        }
        loop {
            match stock.as_mut()?.recv().await? {
                Ok(space) if space.is_whole() => return Some(space),
                Ok(_) => {} // somebody removed its interface; the next
                Err(reason) => {
                    tracing::warn!(%reason, "runtime.stock_failed: a network could not be made ahead");
                    return None;
                }
            }
        }
    }

    /// Starts the thread that keeps [`STOCK`] name spaces ready. Nothing but the descriptors in this process holds them, so
    /// they and their interfaces go with the daemon, however it ends.
    fn begin_stock(&self) -> std::io::Result<mpsc::Receiver<Result<Space, String>>> {
        let (sender, receiver) = mpsc::channel(STOCK);
        let subnet = self.subnet;
        let work = move || apart_here(|| async move { fill(&connect()?, &home()?, subnet, &sender).await });
        std::thread::Builder::new().name("networks".into()).spawn(work)?;
        Ok(receiver)
    }
}

/// A network name space in which no process is yet.
pub struct Space {
    /// Keeps it; to be entered with `setns`.
    pub handle: OwnedFd,
    /// Where the host reaches it.
    pub address: Ipv4Addr,
}

impl Space {
    fn is_whole(&self) -> bool {
        Path::new("/sys/class/net").join(host_end(self.address)).exists()
    }
}

fn host_end(address: Ipv4Addr) -> String {
    let [_, _, high, low] = address.octets();
    format!("{}{high:02x}{low:02x}", firewall::PREFIX)
}

/// Makes name spaces until nobody takes them any more.
async fn fill(host: &Handle, home: &File, subnet: [u8; 2], sender: &mpsc::Sender<Result<Space, String>>) -> Result<(), String> {
    while let Ok(place) = sender.reserve().await {
        place.send(make_space(host, home, subnet).await);
    }
    Ok(())
}

async fn make_space(host: &Handle, home: &File, subnet: [u8; 2]) -> Result<Space, String> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|e| format!("new name space: {e}"))?;
    let space = self::home();
    enter(home)?;
    let space = space?;
    let address = furnish(host, home, &space, subnet).await?;
    Ok(Space { handle: space.into(), address })
}

/// The name space that this thread is in now.
fn home() -> Result<File, String> {
    File::open("/proc/thread-self/ns/net").map_err(|e| format!("network name space: {e}"))
}

fn enter(space: &File) -> Result<(), String> {
    setns(space, CloneFlags::CLONE_NEWNET).map_err(|e| format!("enter the name space: {e}"))
}

/// Ties `space` to the host, and returns its address. This thread is in `home`, to which `host` speaks, before and after.
async fn furnish(host: &Handle, home: &File, space: &File, subnet: [u8; 2]) -> Result<Ipv4Addr, String> {
    let gateway = Ipv4Addr::new(subnet[0], subnet[1], 0, 1);
    // The kernel is the judge of which address is free: several daemons may run on a host, and a name space that has
    // just ended keeps its interface for a moment.
    for _ in 0..TRIES {
        let [high, low] = fastrand::u16(256..=u16::MAX - 1).to_be_bytes();
        let address = Ipv4Addr::new(subnet[0], subnet[1], high, low);
        let name = host_end(address);
        if !add_pair(host, &name, space).await? {
            continue;
        }
        give_address(host, &name, gateway, address).await?;
        enter(space)?;
        let furnished = furnish_inside(gateway, address).await;
        enter(home)?;
        return furnished.map(|()| address);
    }
    Err(format!("no free address in {}.{}.0.0/16 after {TRIES} tries", subnet[0], subnet[1]))
}

async fn furnish_inside(gateway: Ipv4Addr, address: Ipv4Addr) -> Result<(), String> {
    let cage = connect()?;
    cage.link().set(LinkUnspec::new_with_name("lo").up().build()).execute().await.map_err(failed("lo"))?;
    give_address(&cage, "eth0", address, gateway).await?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build();
    cage.route().add(route).execute().await.map_err(failed("route"))
}

/// Hears of every change of filter rules on the host.
fn changes() -> std::io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    socket.add_membership(FILTER_CHANGES)?;
    let wait = nix::sys::time::TimeVal::new(LOOK_EVERY.as_secs().cast_signed(), 0);
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::ReceiveTimeout, &wait)?;
    Ok(socket)
}

/// Puts the rules back when they were flushed, which Debian's own nftables service does at each reload, and follows
/// changes of the name servers. Ends with the driver.
fn watch(network: &Weak<OwnNetwork>, changes: &Socket) {
    let mut known: Vec<IpAddr> = resolver().1;
    loop {
        // An overrun means that there were changes; a time-out, that it is time to look. Each is a reason to look.
        let _ = changes.recv_from(&mut vec![0u8; 8192], 0);
        std::thread::sleep(CHANGE_PAUSE);
        while changes.recv_from(&mut vec![0u8; 8192], libc::MSG_DONTWAIT).is_ok() {} // one look for all of them
        let Some(network) = network.upgrade() else { return };
        let now = resolver().1;
        if now == known && network.firewall.is_loaded() {
            continue;
        }
        match network.firewall.load(&now) {
            Ok(()) => {
                tracing::warn!("runtime.firewall_restored: table inet tidemill or the name servers had changed");
                known = now;
            }
            Err(reason) => tracing::error!(%reason, "runtime.firewall_lost: dynos may reach each other until it loads again"),
        }
    }
}

fn failed(what: &'static str) -> impl Fn(rtnetlink::Error) -> String {
    move |e| format!("{what}: {e}")
}

/// Runs on a thread that ends after it, because a thread that entered a name space must not be used for anything else.
fn apart<T, F, W>(work: W) -> Result<T, String>
where
    T: Send + 'static,
    F: Future<Output = Result<T, String>>,
    W: FnOnce() -> F + Send + 'static,
{
    let thread = std::thread::Builder::new().name("network".into()).spawn(|| apart_here(work));
    thread.map_err(|e| e.to_string())?.join().unwrap_or_else(|_| Err("the network thread panicked".into()))
}

/// The same on a thread that is there for it.
fn apart_here<T, F: Future<Output = Result<T, String>>>(work: impl FnOnce() -> F) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(|e| e.to_string())?;
    runtime.block_on(work())
}

/// A connection to the kernel that acts in the name space that this thread is in now.
fn connect() -> Result<Handle, String> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(|e| format!("netlink: {e}"))?;
    tokio::spawn(connection);
    Ok(handle)
}

/// Makes the pair with one end in the cage; false when the name is taken.
async fn add_pair(host: &Handle, name: &str, space: &File) -> Result<bool, String> {
    let mut peer = LinkMessage::default();
    peer.attributes = vec![LinkAttribute::IfName("eth0".into()), LinkAttribute::NetNsFd(space.as_raw_fd())];
    let mut pair = LinkVeth::new(name, "eth0").build();
    pair.attributes.retain(|a| !matches!(a, LinkAttribute::LinkInfo(_)));
    let info = vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer)))];
    pair.attributes.push(LinkAttribute::LinkInfo(info));
    match host.link().add(pair).execute().await {
        Ok(()) => Ok(true),
        Err(e) if is_there(&e) => Ok(false),
        Err(e) => Err(format!("add {name}: {e}")),
    }
}

async fn give_address(handle: &Handle, name: &str, own: Ipv4Addr, other: Ipv4Addr) -> Result<(), String> {
    let index = nix::net::if_::if_nametoindex(name).map_err(|e| format!("{name}: {e}"))?;
    let mut request = handle.address().add(index, own.into(), 32);
    let message: &mut AddressMessage = request.message_mut();
    message.attributes = vec![AddressAttribute::Local(own.into()), AddressAttribute::Address(other.into())];
    request.execute().await.map_err(failed("address"))?;
    let up = LinkUnspec::new_with_index(index).up().build();
    handle.link().set(up).execute().await.map_err(failed("up"))
}

async fn refuse_unused(host: &Handle, subnet: [u8; 2]) -> Result<(), String> {
    let first = Ipv4Addr::new(subnet[0], subnet[1], 0, 0);
    let route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(first, 16).kind(RouteType::Unreachable).build();
    match host.route().add(route).execute().await {
        Err(e) if !is_there(&e) => Err(format!("route for {first}/16: {e}")),
        _ => Ok(()),
    }
}

fn is_there(error: &rtnetlink::Error) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if message.raw_code() == -libc::EEXIST)
}
