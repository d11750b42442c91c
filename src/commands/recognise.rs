//! `fruitctl recognise`: what images are, by the nearest pictures of a run's results.

use std::cell::RefCell;
use std::sync::Mutex;

use fruitjob_interface::count;
use fruitjob_interface::printable::printable_name;
use fruitjob_interface::recognition::Recognition;
use indicatif::ProgressBar;

use crate::app;
use crate::app::local;
use crate::cli::{Cli, RecogniseArgs};
use crate::error::{Error, Kind, Result};
use crate::ui;
use crate::ui::{BAD, DIM, GOOD, WARN};

/// Up to so many images, the nearest pictures of each are listed below it.
const LISTED: usize = 20;
/// Pictures above which the search takes longer than a person waits, and gigabytes of memory.
const MANY: usize = 5_000_000;

/// Prints a line an image.
///
/// # Errors
/// [`Kind::Failed`] where an image could not be used, after the others have been told.
pub fn run(cli: &Cli, args: &RecogniseArgs) -> Result<()> {
    let config = app::settings(cli, args)?;
    let bar: Mutex<Option<ProgressBar>> = Mutex::new(None);
    let pictures = RefCell::new(0);
    let opened = |images: usize, of: usize| {
        *pictures.borrow_mut() = of;
        *bar.lock().expect("no panic holds it") =
            Some(ui::progress::bar(images as u64, "recognise", "images"));
    };
    let done = || {
        if let Some(bar) = &*bar.lock().expect("no panic holds it") {
            bar.inc(1);
        }
    };
    let output = config.job.output.as_deref();
    let said =
        local::recognise(output, args.model.as_deref(), &args.images, args.neighbours.get(), &opened, &done);
    if let Some(bar) = bar.into_inner().expect("no panic holds it") {
        bar.finish_and_clear();
    }
    let said = said?;
    if args.json {
        for recognition in &said {
            ui::say(&serde_json::to_string(recognition).expect("our values are JSON"));
        }
    } else {
        table(&said);
    }
    let pictures = pictures.into_inner();
    if pictures > MANY {
        ui::note(&format!(
            "{} are compared one by one: for more questions than these, put the vectors into an index (docs/howto/recognise.md)",
            count(pictures as u64, "picture")
        ));
    }
    let failed = said.iter().filter(|recognition| recognition.error.is_some()).count();
    if failed > 0 {
        return Err(Error::new(
            Kind::Failed,
            format!(
                "{} of {} could not be used; the reasons stand above",
                failed,
                count(said.len() as u64, "image")
            ),
        ));
    }
    Ok(())
}

fn table(said: &[Recognition]) {
    let name = |recognition: &Recognition| ending_of(&printable_name(&recognition.image));
    let label = |recognition: &Recognition| match (&recognition.label, recognition.unlike) {
        (Some(label), _) => printable_name(label).into_owned(),
        (None, true) => "unlike anything here".to_owned(),
        (None, false) => "not usable".to_owned(),
    };
    let width = |text: &dyn Fn(&Recognition) -> String| {
        said.iter().map(|recognition| text(recognition).chars().count()).max().unwrap_or(0)
    };
    let (names, labels) = (width(&name), width(&label));
    for recognition in said {
        let colour = match (&recognition.label, &recognition.error) {
            (_, Some(_)) => BAD,
            (Some(_), None) => GOOD,
            (None, None) => WARN,
        };
        let start =
            format!("{:<names$}  {colour}{:<labels$}{colour:#}", name(recognition), label(recognition));
        let Some(first) = recognition.nearest.first() else {
            let why = recognition.error.as_deref().unwrap_or("there is no picture to compare it with");
            ui::say(&format!("{start}  {}", printable_name(why)));
            continue;
        };
        let k = recognition.nearest.len();
        let agree = (recognition.share * k as f32).round();
        ui::say(&format!(
            "{start}  {agree} of {k} nearest  {:>5.2} away, {:.2} at most",
            first.distance, recognition.limit
        ));
        for neighbour in recognition.nearest.iter().filter(|_| said.len() <= LISTED) {
            ui::say(&format!(
                "  {DIM}{:>5.2}  {}{DIM:#}",
                neighbour.distance,
                printable_name(&neighbour.path)
            ));
        }
    }
}

/// A name that leaves room for what is said of it: the end of a long one.
fn ending_of(name: &str) -> String {
    const MOST: usize = 32;
    match name.chars().count().checked_sub(MOST) {
        None | Some(0) => name.to_owned(),
        Some(more) => format!("…{}", name.chars().skip(more + 1).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_name_the_end_is_shown() {
        assert_eq!(ending_of("a.jpg"), "a.jpg");
        let long = format!("{}/é.jpg", "x".repeat(40));
        assert_eq!(ending_of(&long).chars().count(), 32);
        assert!(ending_of(&long).starts_with('…') && ending_of(&long).ends_with("x/é.jpg"));
    }
}
