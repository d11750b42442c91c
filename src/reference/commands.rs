//! Every command and option, from clap's definitions.

use clap::{Arg, Args, Command, CommandFactory};
use fruitjob_interface::spark::SparkOptions;

use super::{choices, head, split_default, table, wrap};
use crate::cli::Cli;

pub fn page() -> String {
    let mut all = Cli::command();
    all.build();
    let mut text = head(
        "Commands",
        "src/cli",
        "Every command of `fruitctl` and every option. `fruitctl COMMAND --help` prints the same. Options overrule \
         [`fruitctl.toml`](config.md). [Exit codes](exit-codes.md) have a page of their own.",
    );
    text += "\n";
    text += &index(&all);
    text += "\n## Options of every command\n\n";
    text += &options(all.get_arguments());
    for command in shown(&all) {
        text += &section(command);
    }
    text += "\n## fruitjob\n\n";
    text += &wrap(
        "`fruitjob run` runs the job by itself, with the options of [`fruitctl run`](#fruitctl-run) up to the model's \
         input, and these. `fruitjob list`, `featurize`, `fit`, `project` and `report` run one stage each. \
         [The job](job.md) says more.",
    );
    text += "\n";
    text + &options(SparkOptions::augment_args(Command::new("fruitjob")).get_arguments())
}

fn shown(all: &Command) -> impl Iterator<Item = &Command> {
    all.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help")
}

fn index(all: &Command) -> String {
    let row = |command: &Command| {
        let name = command.get_name();
        [format!("[`{name}`](#fruitctl-{name})"), about(command)]
    };
    table(["command", "what it does"], &shown(all).map(row).collect::<Vec<_>>())
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

fn section(command: &Command) -> String {
    let name = format!("fruitctl {}", command.get_name());
    let mut text = format!("\n## {name}\n\n{}", wrap(&format!("{}.", about(command))));
    let own: Vec<&Arg> = command.get_arguments().filter(|arg| !arg.is_global_set()).collect();
    let mut headings: Vec<Option<&str>> = vec![None];
    for arg in &own {
        if !headings.contains(&arg.get_help_heading()) {
            headings.push(arg.get_help_heading());
        }
    }
    for heading in headings {
        let rows = options(own.iter().copied().filter(|arg| arg.get_help_heading() == heading));
        if !rows.is_empty() {
            text += &heading.map_or("\n".into(), |heading| format!("\n{heading}:\n\n"));
            text += &rows;
        }
    }
    if let Some(more) = command.get_after_help() {
        text += &format!("\n```text\n{more}\n```\n");
    }
    text
}

fn options<'a>(args: impl Iterator<Item = &'a Arg>) -> String {
    // '--help' says the same of each.
    let args = args.filter(|arg| !arg.is_hide_set() && arg.get_id() != "help");
    table(["option", "what it does", "default"], &args.map(row).collect::<Vec<_>>())
}

fn row(arg: &Arg) -> [String; 3] {
    let flags = [arg.get_short().map(|c| format!("-{c}")), arg.get_long().map(|long| format!("--{long}"))];
    let mut name = flags.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let takes = arg.get_action().takes_values();
    let values: Vec<String> =
        arg.get_value_names().unwrap_or_default().iter().map(|v| v.to_string()).collect();
    if arg.is_positional() {
        name = values.join(" ");
    } else if takes {
        name += &format!(" {}", values.join(" "));
    }
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let (mut help, stated) = split_default(&help);
    let possible = arg.get_possible_values();
    if takes && !possible.is_empty() {
        let helps: Vec<_> = possible.iter().map(|v| v.get_help().map(ToString::to_string)).collect();
        let words = possible.iter().zip(&helps).map(|(v, help)| (v.get_name(), help.as_deref()));
        help += &format!(". {}", choices(words));
    }
    let set = arg.get_default_values().iter().map(|v| format!("`{}`", v.to_string_lossy())).next();
    let none = if arg.is_required_set() { "required" } else { "" };
    [format!("`{name}`"), help, stated.or(set.filter(|_| takes)).unwrap_or(none.into())]
}
