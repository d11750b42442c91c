//! `fruitctl`: parse, dispatch, exit code.

mod aws;
mod bundle;
mod cli;
mod clock;
mod commands;
mod config;
mod cost;
mod elf;
mod error;
mod explain;
mod instances;
#[cfg(feature = "local")]
mod local;
#[cfg(not(feature = "local"))]
#[path = "no_local.rs"]
mod local;
mod run;
mod ssh;
mod stack;
mod ui;

use clap::Parser;

use cli::{Cli, Command};

fn main() {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Init(args) => commands::init::run(&cli, args),
        Command::Run(args) => commands::run::run(&cli, args),
        Command::Plan(args) => commands::plan::run(&cli, args),
        Command::Up(args) => commands::up::run(&cli, args),
        Command::Upload(args) => commands::upload::run(&cli, args),
        Command::Logs(args) => commands::logs::run(&cli, args),
        Command::Results(args) => commands::results::run(&cli, args),
        Command::Clone(args) => commands::clone::run(&cli, args),
        Command::Ssh(args) => commands::ssh::shell(&cli, args),
        Command::Tunnel(args) => commands::ssh::tunnel(&cli, args),
        Command::Runs(args) => commands::runs::run(&cli, args),
        Command::Status(args) => commands::status::run(&cli, args),
        Command::Down(args) => commands::down::run(&cli, args),
        Command::Prune(args) => commands::prune::run(&cli, args),
        Command::Sweep(args) => commands::sweep::run(&cli, args),
        Command::Doctor(args) => commands::doctor::run(&cli, args),
        Command::Policy(args) => commands::policy::run(&cli, args),
        Command::Samples(args) => commands::samples::run(args),
        Command::Schema(args) => commands::schema::run(args),
        Command::Version(args) => commands::version::run(args),
        Command::Man(args) => commands::man::run(args),
        Command::Completions(args) => commands::completions::run(args),
    };
    if let Err(error) = result {
        ui::error(&error);
        ui::github::annotate("error", "fruitctl", &error.to_string());
        std::process::exit(error.kind.exit_code());
    }
}
