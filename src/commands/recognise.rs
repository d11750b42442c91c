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
/// Columns of an image's name, and of a label, at most.
const NAME: usize = 24;
const LABEL: usize = 24;
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
    app::lend_credentials(&config, &[output])?;
    let said = local::recognise(
        output,
        args.model.as_deref(),
        &args.images,
        args.neighbours as usize,
        &opened,
        &done,
    );
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

/// A line an image, within 80 columns where names and labels are not long: its name, its label, how many of the nearest pictures
/// agree, and how far the nearest one is.
fn table(said: &[Recognition]) {
    let name = |recognition: &Recognition| printable_name(&ending_of(&recognition.image, NAME)).into_owned();
    let label = |recognition: &Recognition| match (&recognition.label, recognition.unlike) {
        (Some(label), _) => printable_name(&ending_of(label, LABEL)).into_owned(),
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
        ui::say(&format!("{start}  {agree} of {k}  {}", how_far(recognition, first.distance)));
        for neighbour in recognition.nearest.iter().filter(|_| said.len() <= LISTED) {
            ui::say(&format!(
                "  {DIM}{:>5.2}  {}{DIM:#}",
                neighbour.distance,
                printable_name(&neighbour.path)
            ));
        }
    }
}

/// How far an image is from the nearest picture, or why that says nothing.
fn how_far(recognition: &Recognition, distance: f32) -> String {
    match (recognition.left_out_limit, recognition.limit) {
        (Some(most), _) if recognition.left_out > most => {
            format!("too much of it is new: {:.1}, {most:.1} at most", recognition.left_out)
        }
        (_, Some(limit)) => format!("{distance:.2} away, {limit:.2} at most"),
        (_, None) => format!("{distance:.2} away"),
    }
}

/// A text that leaves room for what is said of it: the end of a long one.
fn ending_of(text: &str, most: usize) -> String {
    match text.chars().count().checked_sub(most) {
        None | Some(0) => text.to_owned(),
        Some(more) => format!("…{}", text.chars().skip(more + 1).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_name_the_end_is_shown() {
        assert_eq!(ending_of("a.jpg", 24), "a.jpg");
        let long = format!("{}/é.jpg", "x".repeat(40));
        assert_eq!(ending_of(&long, 24).chars().count(), 24);
        assert!(ending_of(&long, 24).starts_with('…') && ending_of(&long, 24).ends_with("x/é.jpg"));
    }

    #[test]
    fn what_makes_an_image_unlike_is_said() {
        let far = |limit, left_out, left_out_limit| {
            how_far(&Recognition { limit, left_out, left_out_limit, ..Default::default() }, 3.2)
        };
        assert_eq!(far(Some(5.0), 1.0, Some(4.0)), "3.20 away, 5.00 at most");
        assert_eq!(far(Some(5.0), 7.5, Some(4.0)), "too much of it is new: 7.5, 4.0 at most");
        assert_eq!(far(None, 7.5, None), "3.20 away");
    }
}
