//! Dyno sizes (`runtime.md` section 10).

/// One row of the sizes table.
#[derive(Debug, PartialEq, Eq)]
pub struct Size {
    /// Canonical spelling, as JSON shows it.
    pub name: &'static str,
    /// Stable id shown by the API.
    pub id: &'static str,
    /// Memory quota.
    pub memory_bytes: u64,
    /// Relative share of CPU time; a weight, not a cap.
    pub cpu_share: u32,
    /// Processors that a dyno sees (`nproc`) and uses, at most those of the host: its CPU share where that is shared, else
    /// the table's number.
    pub cores: u32,
    /// Processes and threads; also shown as `ulimit -u`.
    pub tasks_max: u32,
    /// Most dynos of one type.
    pub per_type_max: u32,
}

const MB: u64 = 1024 * 1024;

const fn size(
    name: &'static str,
    id: &'static str,
    mb: u64,
    (cpu_share, cores): (u32, u32),
    tasks: u32,
    per_type: u32,
) -> Size {
    Size { name, id, memory_bytes: mb * MB, cpu_share, cores, tasks_max: tasks, per_type_max: per_type }
}

/// All sizes, smallest first.
pub const SIZES: &[Size] = &[
    size("Eco", "5a0c6a54-2f0f-4c3c-9d5c-7b1d3c6f0e01", 512, (1, 1), 256, 1),
    size("Basic", "5a0c6a54-2f0f-4c3c-9d5c-7b1d3c6f0e02", 512, (1, 1), 256, 1),
    size("Standard-1X", "5a0c6a54-2f0f-4c3c-9d5c-7b1d3c6f0e03", 512, (1, 1), 256, 100),
    size("Standard-2X", "5a0c6a54-2f0f-4c3c-9d5c-7b1d3c6f0e04", 1024, (2, 2), 512, 100),
    size("Performance-M", "5a0c6a54-2f0f-4c3c-9d5c-7b1d3c6f0e05", 2560, (12, 2), 16384, 10),
    size("Performance-L", "5a0c6a54-2f0f-4c3c-9d5c-7b1d3c6f0e06", 14336, (50, 8), 32768, 10),
    size("Performance-L-RAM", "5a0c6a54-2f0f-4c3c-9d5c-7b1d3c6f0e07", 30720, (24, 4), 24576, 10),
    size("Performance-XL", "5a0c6a54-2f0f-4c3c-9d5c-7b1d3c6f0e08", 63488, (50, 8), 32768, 10),
    size("Performance-2XL", "5a0c6a54-2f0f-4c3c-9d5c-7b1d3c6f0e09", 129_024, (100, 16), 65536, 10),
];

/// The size of a new formation entry.
pub const DEFAULT_SIZE: &str = "Standard-1X";

/// Finds a size by name (any case) or id.
pub fn find(name: &str) -> Option<&'static Size> {
    SIZES.iter().find(|s| s.name.eq_ignore_ascii_case(name) || s.id == name)
}

/// Finds a size, falling back to the default one; for stored values, which were checked when they came in.
pub fn find_or_default(name: &str) -> &'static Size {
    find(name).unwrap_or(&SIZES[2])
}
