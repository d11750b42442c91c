//! One file per command: read the configuration, call the core, show the result.

mod clone;
mod completions;
mod doctor;
mod down;
mod init;
mod init_ci;
mod logs;
mod man;
mod models;
mod page;
mod plan;
mod policy;
mod prune;
mod recognise;
mod results;
mod run;
mod runs;
mod samples;
mod schema;
mod ssh;
mod status;
mod sweep;
mod unlock;
mod up;
mod upload;
mod version;

#[cfg(test)]
pub use schema::schema;

use crate::cli::{Cli, Command};
use crate::error::Result;

/// Does what the command line says.
pub fn run(cli: &Cli) -> Result<()> {
    match &cli.command {
        Command::Init(args) => match args.ci {
            Some(ci) => init_ci::run(cli, args, ci),
            None => init::run(cli, args),
        },
        Command::Run(args) => run::run(cli, args),
        Command::Plan(args) => plan::run(cli, args),
        Command::Up(args) => up::run(cli, args),
        Command::Upload(args) => upload::run(cli, args),
        Command::Logs(args) => logs::run(cli, args),
        Command::Results(args) => results::run(cli, args),
        Command::Clone(args) => clone::run(cli, args),
        Command::Ssh(args) => ssh::shell(cli, args),
        Command::Tunnel(args) => ssh::tunnel(cli, args),
        Command::Runs(args) => runs::run(cli, args),
        Command::Status(args) => status::run(cli, args),
        Command::Down(args) => down::run(cli, args),
        Command::Unlock(args) => unlock::run(cli, args),
        Command::Prune(args) => prune::run(cli, args),
        Command::Sweep(args) => sweep::run(cli, args),
        Command::Doctor(args) => doctor::run(cli, args),
        Command::Policy(args) => policy::run(cli, args),
        Command::Recognise(args) => recognise::run(cli, args),
        Command::App(args) => page::run(cli, args),
        Command::Models(args) => models::run(args),
        Command::Samples(args) => samples::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Version(args) => version::run(args),
        Command::Man(args) => man::run(args),
        Command::Completions(args) => completions::run(args),
    }
}
