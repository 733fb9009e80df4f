//! What this host has.

/// Bytes of memory and swap; 0 when the kernel does not tell.
pub fn memory_bytes() -> u64 {
    total(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

/// Bytes of memory alone; 0 when the kernel does not tell.
pub fn plain_memory_bytes() -> u64 {
    field(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal")
}

/// `MemTotal` and `SwapTotal` of this text.
fn total(meminfo: &str) -> u64 {
    field(meminfo, "MemTotal") + field(meminfo, "SwapTotal")
}

fn field(meminfo: &str, name: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
    let kb = line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next()?.parse::<u64>().ok());
    kb.unwrap_or(0) * 1024
}

/// Processors.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_swap_are_added() {
        assert_eq!(total("MemTotal:        1000 kB\nMemFree: 5 kB\nSwapTotal:        24 kB\n"), 1024 * 1024);
        assert_eq!(total(""), 0);
        assert!(memory_bytes() > 1 << 20);
    }
}
