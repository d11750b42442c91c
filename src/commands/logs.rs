//! `fruitctl logs`: what a run's step said.

use crate::app;
use crate::cli::{Cli, LogsArgs};
use crate::error::{Error, Result};
use crate::logs::{self, Stream};
use crate::run::follow::{Feed, Watch};
use crate::run::history;
use crate::stack::{Spec, bucket};
use crate::ui;

/// Prints stdout and stderr: what is in the bucket, or live until the end.
pub fn run(cli: &Cli, args: &LogsArgs) -> Result<()> {
    let config = app::settings(cli, &args.cloud)?;
    app::block_on(async |_| {
        let (aws, names) = app::connect(&config, app::Access::Reads).await?;
        let bucket = bucket::Spec::new(&names, &config.bucket).name;
        let entry = history::find(args.run.as_deref(), &bucket, &aws).await?;
        if entry.step.is_empty() {
            return Err(Error::usage(format!("no step of run {} is known", entry.id)).help("fruitctl runs"));
        }
        let print = |stream: Stream, line: &str| {
            match stream {
                Stream::Out => ui::say(line),
                Stream::Err => ui::note(line),
            }
            false
        };
        if args.follow {
            let spec = Spec::to_read(&config, &aws).await?;
            let watch = Watch {
                aws: &aws,
                spec: &spec,
                cluster: &entry.cluster,
                step: &entry.step,
                no_ssh: false,
                deadline: i64::MAX,
                limit: None,
                state: &|_, _| {},
                warn: &|text| ui::note(text),
            };
            watch.run(&print).await?;
            return Ok(());
        }
        let mut found = false;
        for stream in [Stream::Out, Stream::Err] {
            let mut feed = Feed::new(stream);
            let step = (bucket.as_str(), entry.cluster.as_str(), entry.step.as_str());
            found |=
                logs::read(step, stream, 0, None, &aws, |piece| feed.take(piece, &print)).await.is_some();
            feed.finish(&print);
        }
        if found {
            Ok(())
        } else {
            Err(Error::usage(format!("run {} has no logs in the bucket yet", entry.id))
                .help("fruitctl logs -f"))
        }
    })
}
