//! A plan on the terminal.

use anstyle::Style;

use super::{BAD, BOLD, DIM, GOOD, WARN, say};
use crate::aws::Aws;
use crate::cost::Prices;
use crate::stack::{Action, Plan};

/// Prices older than this many days are worth a word.
const STALE: i64 = 180;

fn mark(action: Action) -> (&'static str, Style) {
    match action {
        Action::Create => ("+ create", GOOD),
        Action::Update => ("~ update", WARN),
        Action::Replace => ("± replace", WARN),
        Action::Keep => ("= keep", DIM),
        Action::Delete => ("- delete", BAD),
    }
}

pub fn print(plan: &Plan, prices: &Prices, aws: &Aws) {
    let mut lines = vec![format!(
        "{BOLD}{}{BOLD:#} in {BOLD}{}{BOLD:#} {DIM}(from {}), account {}, as {}{DIM:#}",
        plan.project, plan.region, aws.region_source, plan.account, aws.caller
    )];
    for change in &plan.changes {
        let (text, style) = mark(change.action);
        lines.push(format!("  {style}{text:<10}{style:#} {:<23} {}", change.resource.title(), change.name));
        lines.extend(change.reasons.iter().map(|reason| format!("  {:34} {DIM}{reason}{DIM:#}", "")));
    }
    lines.extend(plan.notes.iter().map(|note| format!("{WARN}note:{WARN:#} {note}")));
    let age = prices.age_days();
    let stale = if age > STALE { format!("{WARN}{age} days old{WARN:#}") } else { format!("{age} days old") };
    lines.push(format!("{}; prices of {}, {stale}", plan.cost.text(), plan.cost.as_of));
    if !plan.cost.unknown.is_empty() {
        let types = plan.cost.unknown.join(", ");
        lines.push(format!(
            "{WARN}note:{WARN:#} no price of {types} here; the sum is without: set it under [prices] in fruitctl.toml"
        ));
    }
    let count =
        |action, word: &str| Some(plan.count(action)).filter(|n| *n > 0).map(|n| format!("{n} to {word}"));
    let counts: Vec<_> = [
        count(Action::Create, "create"),
        count(Action::Update, "update"),
        count(Action::Replace, "replace"),
        count(Action::Delete, "delete"),
    ]
    .into_iter()
    .flatten()
    .collect();
    lines.push(if counts.is_empty() { format!("{GOOD}nothing to do{GOOD:#}") } else { counts.join(", ") });
    say(&lines.join("\n"));
}
