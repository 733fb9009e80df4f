//! What a slot holds. All records can be added up: a slot of ten minutes is the sum of ten of one.

use crate::series::sketch::{BUCKETS, Sketch};

/// Something that a series is made of.
pub trait Record: Clone + Default {
    /// Begin of the names of its files.
    const NAME: &'static str;
    /// Bytes of its body.
    const BYTES: usize;

    /// Appends exactly [`Record::BYTES`] bytes.
    fn write(&self, out: &mut Vec<u8>);
    /// Reads exactly [`Record::BYTES`] bytes; anything is a record, damage is found before.
    fn read(body: &[u8]) -> Self;
    /// Adds what happened in another span.
    fn merge(&mut self, other: &Self);
}

/// Takes little-endian numbers from the front; zero where nothing is left.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let Some((head, rest)) = self.0.split_first_chunk::<N>() else { return [0; N] };
        self.0 = rest;
        *head
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }
}

/// Mean of two means of so many seconds.
fn mean(a: u32, a_s: u32, b: u32, b_s: u32) -> u32 {
    let weight = u64::from(a_s) + u64::from(b_s);
    if weight == 0 {
        return 0;
    }
    let sum = u64::from(a) * u64::from(a_s) + u64::from(b) * u64::from(b_s);
    u32::try_from(sum / weight).unwrap_or(u32::MAX)
}

/// Kinds of router errors that a slot can hold; the rarest are left out of a slot that has more.
const CODES_KEPT: usize = 7;
/// Router errors that are told apart, see [`super::code_name`].
pub const CODES: usize = 32;

/// What visitors asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requests {
    /// Answers by the first digit of their status, from 1 on.
    pub classes: [u32; 5],
    /// Router errors by the place of their code.
    pub codes: [u32; CODES],
    /// Body bytes to visitors.
    pub bytes: u64,
    /// Time from the connection to a dyno to the last byte, of those that reached one.
    pub times: Sketch,
}

impl Default for Requests {
    fn default() -> Self {
        Self { classes: [0; 5], codes: [0; CODES], bytes: 0, times: Sketch::default() }
    }
}

impl Requests {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.classes.iter().map(|count| u64::from(*count)).sum()
    }
}

impl Record for Requests {
    const NAME: &'static str = "requests";
    const BYTES: usize = 5 * 4 + CODES_KEPT * 4 + 8 + BUCKETS;

    fn write(&self, out: &mut Vec<u8>) {
        self.classes.iter().for_each(|count| out.extend(count.to_le_bytes()));
        let mut codes: Vec<(usize, u32)> = self.codes.iter().copied().enumerate().filter(|(_, count)| *count > 0).collect();
        codes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        codes.resize(CODES_KEPT, (0, 0));
        for (place, count) in codes {
            let [a, b, c, _] = count.min(0xff_ffff).to_le_bytes();
            out.extend([place as u8, a, b, c]);
        }
        out.extend(self.bytes.to_le_bytes());
        out.extend(self.times.to_bytes());
    }

    fn read(body: &[u8]) -> Self {
        let mut numbers = Numbers(body);
        let mut record = Self::default();
        record.classes.iter_mut().for_each(|count| *count = numbers.u32());
        for _ in 0..CODES_KEPT {
            let [place, a, b, c] = numbers.bytes::<4>();
            if let Some(count) = record.codes.get_mut(usize::from(place)) {
                *count = count.saturating_add(u32::from_le_bytes([a, b, c, 0]));
            }
        }
        record.bytes = numbers.u64();
        record.times = Sketch::from_bytes(numbers.0);
        record
    }

    fn merge(&mut self, other: &Self) {
        self.classes.iter_mut().zip(other.classes).for_each(|(a, b)| *a = a.saturating_add(b));
        self.codes.iter_mut().zip(other.codes).for_each(|(a, b)| *a = a.saturating_add(b));
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.times.merge(&other.times);
    }
}

/// What a dyno used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Seconds that were looked at.
    pub seconds: u32,
    /// Memory without cache, mean, KiB.
    pub memory_kib: u32,
    /// The same, highest.
    pub memory_max_kib: u32,
    /// Cache, mean, KiB.
    pub cache_kib: u32,
    /// Swapped out, highest, KiB.
    pub swap_kib: u32,
    /// Memory quota, KiB.
    pub limit_kib: u32,
    /// Time on processors, milliseconds.
    pub cpu_ms: u32,
    /// Time held back by a CPU limit, milliseconds.
    pub throttled_ms: u32,
    /// Processes and threads, highest.
    pub tasks: u32,
    /// Processes that the kernel killed for memory.
    pub oom_kills: u16,
    /// Of the seconds: so many it was starting.
    pub starting_s: u16,
    /// So many it was crashed.
    pub crashed_s: u16,
    /// So many it was up.
    pub up_s: u16,
}

impl Record for Usage {
    const NAME: &'static str = "dyno";
    const BYTES: usize = 9 * 4 + 4 * 2;

    fn write(&self, out: &mut Vec<u8>) {
        let wide = [
            self.seconds,
            self.memory_kib,
            self.memory_max_kib,
            self.cache_kib,
            self.swap_kib,
            self.limit_kib,
            self.cpu_ms,
            self.throttled_ms,
            self.tasks,
        ];
        wide.iter().for_each(|number| out.extend(number.to_le_bytes()));
        let narrow = [self.oom_kills, self.starting_s, self.crashed_s, self.up_s];
        narrow.iter().for_each(|number| out.extend(number.to_le_bytes()));
    }

    fn read(body: &[u8]) -> Self {
        let mut numbers = Numbers(body);
        Self {
            seconds: numbers.u32(),
            memory_kib: numbers.u32(),
            memory_max_kib: numbers.u32(),
            cache_kib: numbers.u32(),
            swap_kib: numbers.u32(),
            limit_kib: numbers.u32(),
            cpu_ms: numbers.u32(),
            throttled_ms: numbers.u32(),
            tasks: numbers.u32(),
            oom_kills: numbers.u16(),
            starting_s: numbers.u16(),
            crashed_s: numbers.u16(),
            up_s: numbers.u16(),
        }
    }

    fn merge(&mut self, other: &Self) {
        self.memory_kib = mean(self.memory_kib, self.seconds, other.memory_kib, other.seconds);
        self.cache_kib = mean(self.cache_kib, self.seconds, other.cache_kib, other.seconds);
        self.seconds = self.seconds.saturating_add(other.seconds);
        self.memory_max_kib = self.memory_max_kib.max(other.memory_max_kib);
        self.swap_kib = self.swap_kib.max(other.swap_kib);
        self.limit_kib = if other.limit_kib > 0 { other.limit_kib } else { self.limit_kib };
        self.cpu_ms = self.cpu_ms.saturating_add(other.cpu_ms);
        self.throttled_ms = self.throttled_ms.saturating_add(other.throttled_ms);
        self.tasks = self.tasks.max(other.tasks);
        self.oom_kills = self.oom_kills.saturating_add(other.oom_kills);
        self.starting_s = self.starting_s.saturating_add(other.starting_s);
        self.crashed_s = self.crashed_s.saturating_add(other.crashed_s);
        self.up_s = self.up_s.saturating_add(other.up_s);
    }
}

impl Usage {
    /// This and what followed.
    #[must_use]
    pub fn then(mut self, next: &Self) -> Self {
        self.merge(next);
        self
    }
}

impl Work {
    /// This and what followed.
    #[must_use]
    pub fn then(mut self, next: &Self) -> Self {
        self.merge(next);
        self
    }
}

impl Host {
    /// This and what followed.
    #[must_use]
    pub fn then(mut self, next: &Self) -> Self {
        self.merge(next);
        self
    }
}

macro_rules! plain_record {
    ($(#[$doc:meta])* $name:ident, { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: u32,)*
        }

        impl $name {
            const FIELDS: usize = [$(stringify!($field)),*].len();

            fn put(&self, out: &mut Vec<u8>) {
                $(out.extend(self.$field.to_le_bytes());)*
            }

            fn take(body: &[u8]) -> Self {
                let mut numbers = Numbers(body);
                Self { $($field: numbers.u32()),* }
            }
        }
    };
}

plain_record! {
    /// Builds and releases that ended.
    Work, {
        /// Builds.
        builds,
        /// Of those: so many failed.
        builds_failed,
        /// Time of all of them, milliseconds.
        build_ms,
        /// Time of the longest, milliseconds.
        build_max_ms,
        /// Releases that were made.
        releases,
        /// Of those: so many failed.
        releases_failed,
        /// Time from each release to its proof or failure, together, milliseconds.
        release_ms,
        /// The longest of those, milliseconds.
        release_max_ms,
    }
}

impl Record for Work {
    const NAME: &'static str = "work";
    const BYTES: usize = Self::FIELDS * 4;

    fn write(&self, out: &mut Vec<u8>) {
        self.put(out);
    }

    fn read(body: &[u8]) -> Self {
        Self::take(body)
    }

    fn merge(&mut self, other: &Self) {
        self.builds = self.builds.saturating_add(other.builds);
        self.builds_failed = self.builds_failed.saturating_add(other.builds_failed);
        self.build_ms = self.build_ms.saturating_add(other.build_ms);
        self.build_max_ms = self.build_max_ms.max(other.build_max_ms);
        self.releases = self.releases.saturating_add(other.releases);
        self.releases_failed = self.releases_failed.saturating_add(other.releases_failed);
        self.release_ms = self.release_ms.saturating_add(other.release_ms);
        self.release_max_ms = self.release_max_ms.max(other.release_max_ms);
    }
}

plain_record! {
    /// Figures of the host.
    Host, {
        /// Seconds that were looked at.
        seconds,
        /// Time that processors were busy, all together, milliseconds.
        busy_ms,
        /// Processors.
        cores,
        /// Load over one minute, mean, thousandths.
        load_milli,
        /// Memory of the host, KiB.
        memory_kib,
        /// Of that in use (not available to who asks), mean, KiB.
        memory_used_kib,
        /// The same, highest.
        memory_used_max_kib,
        /// Swap in use, highest, KiB.
        swap_used_kib,
        /// Disk of the data directory, MiB.
        disk_mib,
        /// Of that in use, highest, MiB.
        disk_used_mib,
        /// Memory of the daemon, highest, KiB.
        daemon_kib,
        /// Time of the daemon on processors, milliseconds.
        daemon_ms,
        /// Received on all interfaces but the loopback, KiB.
        received_kib,
        /// Sent on all interfaces but the loopback, KiB.
        sent_kib,
    }
}

impl Record for Host {
    const NAME: &'static str = "host";
    const BYTES: usize = Self::FIELDS * 4;

    fn write(&self, out: &mut Vec<u8>) {
        self.put(out);
    }

    fn read(body: &[u8]) -> Self {
        Self::take(body)
    }

    fn merge(&mut self, other: &Self) {
        self.load_milli = mean(self.load_milli, self.seconds, other.load_milli, other.seconds);
        self.memory_used_kib = mean(self.memory_used_kib, self.seconds, other.memory_used_kib, other.seconds);
        self.seconds = self.seconds.saturating_add(other.seconds);
        self.busy_ms = self.busy_ms.saturating_add(other.busy_ms);
        self.cores = self.cores.max(other.cores);
        self.memory_kib = self.memory_kib.max(other.memory_kib);
        self.memory_used_max_kib = self.memory_used_max_kib.max(other.memory_used_max_kib);
        self.swap_used_kib = self.swap_used_kib.max(other.swap_used_kib);
        self.disk_mib = self.disk_mib.max(other.disk_mib);
        self.disk_used_mib = self.disk_used_mib.max(other.disk_used_mib);
        self.daemon_kib = self.daemon_kib.max(other.daemon_kib);
        self.daemon_ms = self.daemon_ms.saturating_add(other.daemon_ms);
        self.received_kib = self.received_kib.saturating_add(other.received_kib);
        self.sent_kib = self.sent_kib.saturating_add(other.sent_kib);
    }
}
