//! Tells somebody of a run that has failed, where the environment names a webhook: on any CI, and without one.

use std::time::Duration;

use fruitjob_interface::printable;

use super::runtime;
use crate::aws::ca_bundle;
use crate::error::{Error, Kind, Result};
use crate::run::summary::{State, Summary};
use crate::ui;

/// The address; who has it may post there, so that it is never printed.
const VARIABLE: &str = "FRUITCTL_WEBHOOK";

/// Posts why a run has failed, as Slack and those who take the same want it: `{"text": "..."}`. That it could not be told is
/// a warning, and fails nothing. What a person stopped, he knows.
/// Source: <https://api.slack.com/messaging/webhooks>.
pub fn failed(summary: &Summary) {
    let url = std::env::var(VARIABLE).unwrap_or_default();
    if url.is_empty() || summary.exit_code == 0 || summary.state == State::Stopped {
        return;
    }
    let Summary { id, exit_code, error, input, output, .. } = summary;
    let place = |place: &Option<String>| place.clone().unwrap_or_else(|| "?".into());
    let why = error.as_deref().unwrap_or_default();
    let text =
        format!("fruitctl run {id}, {} -> {}: exit code {exit_code}: {why}", place(input), place(output));
    // Others' words call nobody and lead nowhere.
    // Source: <https://api.slack.com/reference/surfaces/formatting#escaping>.
    let text = printable(&text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let told = runtime().and_then(|runtime| runtime.block_on(post(&url, &text)));
    if let Err(error) = told {
        ui::note(&format!("warning: {VARIABLE} was not told of this: {}", error.message));
    }
}

async fn post(url: &str, text: &str) -> Result<()> {
    let bundle = ca_bundle(None)?;
    let post = async {
        let more = reqwest::Certificate::from_pem_bundle(&bundle)?;
        let client =
            reqwest::Client::builder().timeout(Duration::from_secs(10)).tls_certs_merge(more).build()?;
        let body = serde_json::json!({ "text": text }).to_string();
        client
            .post(url)
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await?
            .error_for_status()
    };
    post.await.map(drop).map_err(|error| Error::new(Kind::Failed, error.without_url().to_string()))
}
