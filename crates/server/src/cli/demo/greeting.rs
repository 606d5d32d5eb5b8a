//! What the demo prints: where it is, and questions that can be copied as they stand.

use std::path::Path;

/// One question per dataset, as the parameters of a GET.
const QUESTIONS: [(&str, &str); 3] = [
    (
        "visits and revenue by day",
        "dataset=events&metrics=pageviews,visitors,revenue&dimensions=time:day&date_range=7d",
    ),
    (
        "language models by cost, with their latency and errors",
        "dataset=llm&metrics=cost_usd,traces,p95_duration_ms,error_share&dimensions=model&date_range=7d",
    ),
    (
        "machines by availability; one of them is wearing out",
        "dataset=machines&metrics=oee,availability,max_temperature_c&dimensions=machine&date_range=7d",
    ),
];

/// The text that is shown once all data is there.
pub fn text(url: &str, key: &str, data: &Path) -> String {
    let mut text = format!("\nTidewater runs at  {url}\nadmin key          {key}\n\nAsk it:\n");
    for (what, parameters) in QUESTIONS {
        text += &format!(
            "\n# {what}\ncurl -s -H 'Authorization: Bearer {key}' '{url}/api/v1/query?{parameters}'\n"
        );
    }
    text += &format!(
        "\nOr with this program:\n\n  export TIDEWATER_URL={url} TIDEWATER_KEY={key}\n  \
         tidewater query -d llm -m cost_usd,traces -g model -r 7d\n\n\
         New rows keep coming. Ctrl-C stops it; 'tidewater demo' goes on with the data in '{0}', and removing that folder\n\
         starts anew.\n",
        data.display()
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dataset_has_a_line_that_can_be_copied() {
        let text = text("http://127.0.0.1:8321", "tw_1", Path::new("./d"));
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("curl ")).collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.matches('\'').count() == 4), "{lines:?}");
    }
}
