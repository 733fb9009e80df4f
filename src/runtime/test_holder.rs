//! The holder as a program of its own, for the driver tests.

fn main() -> std::process::ExitCode {
    runtime::native::hold::main()
}
