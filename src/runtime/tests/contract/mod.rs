//! The contract of drivers: one body of situations (`runtime.md` section 14; the number stands in the name), stamped once
//! for each driver by [`contract!`]. What a driver can not do is one of its [`Capabilities`]; the body asks for it by
//! [`needs!`] and says so.
#![allow(missing_docs, clippy::unwrap_used)]

pub mod attach;
pub mod faults;
pub mod life;
pub mod pipe;
pub mod start;
pub mod stop;

use domain::DynoId;
use runtime::{Capabilities, Exit, Limits, Mount, Network, Root, Runtime, Sink, Spec, Stdio, fake::FakeRuntime};
use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, Condvar, LazyLock, Mutex},
    time::Duration,
};
use uuid::Uuid;

/// Factor for all limits where everything is slow, as on an emulated machine.
const LIMIT_FACTOR: &str = "TIDEMILL_TEST_LIMIT_FACTOR";
/// Longest wait for anything.
pub static LIMIT: LazyLock<Duration> = LazyLock::new(|| {
    let factor = std::env::var(LIMIT_FACTOR).map_or(1, |factor| factor.parse().expect(LIMIT_FACTOR));
    Duration::from_secs(30) * factor
});

/// Remembers what a cage says.
#[derive(Default)]
pub struct Recorder {
    text: Mutex<String>,
    changed: Condvar,
    pub end: Mutex<u64>,
    pub grace_over: Mutex<u32>,
    pub dropped: Mutex<u64>,
}

impl Sink for Recorder {
    fn output(&self, end: u64, _time_us: u64, bytes: &[u8]) {
        *self.end.lock().unwrap() = end;
        self.text.lock().unwrap().push_str(&String::from_utf8_lossy(bytes));
        self.changed.notify_all();
    }
    fn dropped(&self, lines: u64) {
        *self.dropped.lock().unwrap() += lines;
    }
    fn grace_over(&self) {
        *self.grace_over.lock().unwrap() += 1;
    }
}

impl Recorder {
    pub fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// Without what a shell says about a `sleep` of it that got the signal, too.
    pub fn said(&self) -> String {
        self.text().replace("Terminated\n", "")
    }

    /// Waits until the output contains `needle`.
    pub fn wait_for(&self, needle: &str) {
        let text = self.text.lock().unwrap();
        let (text, limit) = self.changed.wait_timeout_while(text, *LIMIT, |t| !t.contains(needle)).unwrap();
        assert!(!limit.timed_out(), "no {needle:?} in:\n{text}");
    }
}

type Reopen = Box<dyn Fn(&Path) -> Arc<dyn Runtime> + Send + Sync>;
type Traces = Box<dyn Fn(&Path) -> Vec<String> + Send + Sync>;

/// A driver, and what its tests can do from outside.
pub struct World {
    pub dir: tempfile::TempDir,
    pub runtime: Arc<dyn Runtime>,
    /// The driver of the next daemon on the same folder.
    pub reopen: Reopen,
    /// Freezes a cage behind the driver's back.
    pub freeze: fn(DynoId),
    /// What exists on the host for this driver: cages, groups, volumes; to be the same before and after.
    pub traces: Traces,
    /// The driver that plays, if it is this one.
    pub fake: Option<Arc<FakeRuntime>>,
}

/// A folder that the users of cages can reach.
pub fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap()
}

impl World {
    pub fn spec(&self, script: &str) -> Spec {
        let id = DynoId::from(Uuid::new_v4());
        // Processes are counted by user over the whole host: no other test may have the same one.
        let slot = 10_000 + u32::from(u16::from_le_bytes([id.as_bytes()[0], id.as_bytes()[1]])) / 2;
        let app = self.dir.path().join(format!("app-{id}"));
        let tmp = self.dir.path().join(format!("tmp-{id}"));
        for dir in [&app, &tmp] {
            fs::create_dir(dir).unwrap();
            if let Some((uid, gid)) = self.runtime.host_user(slot) {
                std::os::unix::fs::chown(dir, Some(uid), Some(gid)).unwrap();
            }
        }
        let mount = |source, target: &str| Mount { source, target: target.into(), writable: true, kept: false };
        Spec {
            id,
            argv: vec!["/bin/bash".into(), "-c".into(), script.into()],
            env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into()), ("HOME".into(), "/app".into())]),
            cwd: "/app".into(),
            hostname: id.to_string(),
            mounts: vec![mount(app, "/app"), mount(tmp, "/tmp")],
            user_slot: slot,
            limits: Limits { memory_bytes: 64 << 20, memory_hard: true, tasks_max: 64, cpu_share: 1, cores: None },
            network: Network::Own,
            lossless: false,
            root: Root::default(),
            stdio: Stdio::default(),
        }
    }

    pub async fn start(&self, script: &str) -> (DynoId, Arc<Recorder>) {
        let (id, sink, _) = self.start_at(script).await;
        (id, sink)
    }

    pub async fn start_at(&self, script: &str) -> (DynoId, Arc<Recorder>, IpAddr) {
        let spec = self.spec(script);
        let (id, sink) = (spec.id, Arc::new(Recorder::default()));
        let address = self.runtime.start(spec, sink.clone()).await.unwrap();
        (id, sink, address)
    }

    /// Waits for the end and removes what is left.
    pub async fn end(&self, id: DynoId) -> Exit {
        let exit = tokio::time::timeout(*LIMIT * 2, self.runtime.wait(id)).await.expect("the cage ends").unwrap();
        self.runtime.remove(id).await.unwrap();
        exit
    }

    pub async fn run(&self, script: &str) -> (Exit, String) {
        let (id, sink) = self.start(script).await;
        let exit = self.end(id).await;
        (exit, sink.text())
    }

    /// Says which part of the contract does not apply, and why.
    pub fn lacks(&self, what: &str, has: impl Fn(&Capabilities) -> bool) -> bool {
        let capabilities = self.runtime.capabilities();
        let lacks = !has(&capabilities);
        if lacks {
            println!("DIFFERENCE: the {} driver has no {what}", capabilities.driver);
        }
        lacks
    }
}

/// Returns when the driver declares that it lacks a capability.
macro_rules! needs {
    ($world:expr, $capability:ident) => {
        if $world.lacks(stringify!($capability), |c| c.$capability) {
            return;
        }
    };
}
pub(crate) use needs;

/// Stamps the contract for the driver that `$world` makes, if it can be had here.
macro_rules! contract {
    ($world:path) => {
        contract! { $world;
            attach::attach_40_a_terminal_has_its_size_and_takes_another,
            attach::attach_41_pipes_carry_any_bytes_and_their_end,
            attach::attach_the_next_one_cuts_the_former_off,
            attach::exec_ends_with_the_cage,
            attach::exec_runs_inside_and_tells_its_status,
            attach::exec_who_goes_away_hangs_it_up,
            faults::fault_a_start_that_fails_leaves_nothing,
            faults::fault_the_process_that_a_cage_hangs_on_is_killed,
            life::life_a_cage_from_start_to_removal,
            life::life_nobody_knows_an_id_that_was_never_started,
            life::life_a_second_stop_sends_no_second_term,
            life::life_17_a_new_daemon_takes_the_dyno_back,
            life::life_a_cage_that_ended_meanwhile_tells_the_next_daemon,
            life::life_nothing_is_left_behind,
            start::start_3_4_24_26_the_cage_is_what_the_contract_says,
            start::start_5_what_buildpack_scripts_measure,
            start::start_7_a_missing_command_is_127_and_exit_codes_come_through,
            start::start_files_are_the_users_and_die_with_the_cage,
            stop::stop_9_11_every_process_gets_term_once_daemons_too,
            stop::stop_10_a_shell_that_dies_at_once_does_not_cut_its_child_short,
            stop::stop_12_who_ignores_term_is_killed_after_the_grace,
            stop::stop_13_term_during_boot,
            stop::stop_14_a_fork_bomb_is_bounded_and_dies,
            stop::stop_15_a_frozen_cage_is_thawed,
            stop::signal_reaches_every_process,
            pipe::pipe_17_output_goes_on_under_a_new_daemon_without_loss_or_repeat,
            pipe::pipe_19_21_25_a_flood_arrives_whole_and_in_order,
            pipe::pipe_19_lines_that_nobody_read_are_counted,
            pipe::pipe_20_last_lines_of_a_child_arrive,
            pipe::pipe_22_stdout_closed_stderr_goes_on,
            pipe::pipe_23_dev_stdout_can_be_opened_again,
            pipe::crash_28_30_32_memory_zombies_and_left_over_children,
        }
    };
    ($world:path; $($module:ident::$name:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(world) = $world() {
                    contract::$module::$name(&world).await;
                }
            }
        )*
    };
}
pub(crate) use contract;
