//! The packetboat program: parse, call, say what went wrong.

use std::process::ExitCode;

fn main() -> ExitCode {
    packetboat::cli::main()
}
