//! `fruitctl unlock`: who holds the project's locks; and takes one away from a holder that is gone.

use std::sync::Arc;

use serde::Serialize;

use crate::app;
use crate::cli::{Cli, UnlockArgs};
use crate::error::{Error, Kind, Result};
use crate::logs::plain;
use crate::stack::lock;
use crate::{clock, ui};

/// A lock that somebody holds.
#[derive(Serialize)]
struct Held {
    id: String,
    /// What it keeps apart.
    what: &'static str,
    owner: String,
    /// The command.
    doing: String,
    since: String,
}

/// Frees one lock, or tells of all.
pub fn run(cli: &Cli, args: &UnlockArgs) -> Result<()> {
    let config = app::settings(cli, &args.cloud)?;
    app::block_on(async |_| {
        let (aws, names) = app::connect(&config, app::Access::unless(args.id.is_none())).await?;
        let (aws, bucket) = (Arc::new(aws), config.bucket.name.clone().unwrap_or_else(|| names.bucket()));
        let held = lock::held(&aws, &bucket).await?;
        let Some(id) = &args.id else {
            show(&held.iter().map(|(name, holder)| of(name, holder)).collect::<Vec<_>>(), args.cloud.json);
            return Ok(());
        };
        let found = held.iter().find(|(_, holder)| holder.id == *id);
        let Some((name, holder)) = found.filter(|_| !id.is_empty()) else {
            return Err(Error::new(Kind::Refused, format!("nobody holds a lock {id} in bucket {bucket}"))
                .help("fruitctl unlock lists those that are held"));
        };
        let freed = lock::free(&aws, &bucket, name, id).await?;
        if args.cloud.json {
            ui::json(&of(name, holder));
        } else if freed {
            let (owner, doing) = (plain(&holder.owner), plain(&holder.doing));
            ui::say(&format!("took the lock of {} away from {owner} ('fruitctl {doing}')", name.in_words()));
        } else {
            ui::say("its holder has just given it back");
        }
        Ok(())
    })
}

fn of(name: &lock::Name, holder: &lock::Holder) -> Held {
    Held {
        id: holder.id.clone(),
        what: name.in_words(),
        owner: holder.owner.clone(),
        doing: holder.doing.clone(),
        since: clock::rfc3339(holder.since),
    }
}

fn show(held: &[Held], json: bool) {
    if json {
        return ui::json(&held);
    }
    if held.is_empty() {
        return ui::say("no lock is held");
    }
    for Held { id, what, owner, doing, since } in held {
        ui::say(&format!(
            "{}  {what}: {} for 'fruitctl {}' since {since}",
            plain(id),
            plain(owner),
            plain(doing)
        ));
    }
}
