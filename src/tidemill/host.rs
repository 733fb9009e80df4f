//! What this host has.

/// Bytes of memory and swap; 0 when the kernel does not tell.
pub fn memory_bytes() -> u64 {
    total(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

/// `MemTotal` and `SwapTotal` of this text.
fn total(meminfo: &str) -> u64 {
    let kb = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    (kb("MemTotal") + kb("SwapTotal")) * 1024
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
