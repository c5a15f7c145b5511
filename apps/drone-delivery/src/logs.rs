//! What the processes wrote, one file each, shown together.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use skein::{Exit, Failure, Format, Output, table::printable};
use tokio::time::sleep;

use crate::cli::LogArguments;

/// Pause between two looks for new lines.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Bytes at the end of a file in which the lines to begin with are looked for.
const TAIL_BYTES: u64 = 1 << 20;

/// Prints the last lines of each log, and with `--follow` those that come.
pub(crate) async fn logs(
    data: &Path,
    arguments: &LogArguments,
    output: Output,
) -> Result<Exit, Failure> {
    let folder = data.join("logs");
    let mut places: BTreeMap<PathBuf, u64> = BTreeMap::new();
    let files = files(&folder, arguments.name.as_deref()).map_err(|error| {
        let failure = Failure::new("no_logs", "there are no logs").at(folder.display());
        failure.because(error).exit(Exit::NotFound).next("drone-delivery up")
    })?;
    if files.is_empty() {
        return Err(Failure::new("no_logs", "no process of that name has written anything")
            .at(folder.display())
            .exit(Exit::NotFound)
            .next("drone-delivery ps"));
    }
    for path in files {
        let (lines, end) = tail(&path, arguments.tail).unwrap_or_default();
        show(&path, &lines, output);
        places.insert(path, end);
    }
    if !arguments.follow {
        return Ok(Exit::Done);
    }
    loop {
        sleep(LOOK_EVERY).await;
        for (path, from) in &mut places {
            let (lines, end) = lines_from(path, *from).unwrap_or_default();
            show(path, &lines, output);
            *from = end;
        }
    }
}

/// The current file of each process whose role or instance has the name.
fn files(folder: &Path, name: Option<&str>) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_log = path.extension().is_some_and(|it| it == "log");
        let instance = path.file_stem().and_then(|it| it.to_str()).unwrap_or_default();
        // `account@v2-1` belongs to `account@v2`, and to `account`.
        let edition = instance.rsplit_once('-').map_or(instance, |it| it.0);
        let role = edition.split_once('@').map_or(edition, |it| it.0);
        if is_log && name.is_none_or(|it| [instance, edition, role].contains(&it)) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn show(path: &Path, lines: &[String], output: Output) {
    let instance = path.file_stem().and_then(|it| it.to_str()).unwrap_or_default();
    for line in lines {
        output.text(&shown(instance, line, output.format));
    }
}

/// One line of a log as one line of the result.
fn shown(instance: &str, line: &str, format: Format) -> String {
    match format {
        Format::Json => {
            // Services write documents; programs of others whatever they like.
            let mut record = match serde_json::from_str(line) {
                Ok(Value::Object(members)) => Value::Object(members),
                Ok(_) | Err(_) => json!({"message": line}),
            };
            record["instance"] = Value::from(instance);
            format!("{record}\n")
        }
        Format::Table | Format::Wide => format!("{instance}  {}\n", printable(line)),
    }
}

/// The last lines of a file, and where it ends.
fn tail(path: &Path, lines_max: usize) -> io::Result<(Vec<String>, u64)> {
    let length = fs::metadata(path)?.len();
    let from = length.saturating_sub(TAIL_BYTES);
    let (mut lines, end) = lines_from(path, from)?;
    let surplus = lines.len().saturating_sub(lines_max);
    Ok((lines.split_off(surplus), end))
}

/// Whole lines from a place on, and the place after them. A file that is shorter than the place was
/// begun anew.
fn lines_from(path: &Path, from: u64) -> io::Result<(Vec<String>, u64)> {
    let mut file = File::open(path)?;
    let mut place = if file.metadata()?.len() < from { 0 } else { from };
    file.seek(SeekFrom::Start(place))?;
    let mut reader = BufReader::new(file);
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        let length = reader.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            // The end, or a line that is still being written.
            return Ok((lines, place));
        }
        place += u64::try_from(length).unwrap_or(0);
        lines.push(String::from_utf8_lossy(&line).into_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_when_it_is_whole_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("drone-1.log");
        fs::write(&path, "one\ntwo\nthr").unwrap();
        let (lines, end) = tail(&path, 1).unwrap();
        assert_eq!((lines, end), (vec!["two".to_owned()], 8));
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        assert_eq!(lines_from(&path, end).unwrap(), (vec!["three".to_owned()], 14));
    }

    #[test]
    fn a_file_that_was_begun_anew_is_read_from_its_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("drone-1.log");
        fs::write(&path, "new\n").unwrap();
        assert_eq!(lines_from(&path, 1_000).unwrap().0, ["new"]);
    }

    #[test]
    fn a_line_is_a_document_to_programs() {
        for (line, expected) in [
            ("a \"b\"\u{1b}[2J", json!({"instance": "x-1", "message": "a \"b\"\u{1b}[2J"})),
            (r#"{"level": "WARN"}"#, json!({"instance": "x-1", "level": "WARN"})),
        ] {
            let text = shown("x-1", line, Format::Json);
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
            assert_eq!(text.matches('\n').count(), 1, "{text}");
        }
    }

    #[test]
    fn a_role_means_all_its_instances() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "drone-1.log",
            "drone-2.log",
            "third-party-transport-1.log",
            "drone-1.log.1",
            "drone@v2-1.log",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let count = |name| files(folder.path(), name).unwrap().len();
        assert_eq!(count(Some("drone")), 3);
        assert_eq!(count(Some("drone@v2")), 1);
        assert_eq!(count(Some("drone-2")), 1);
        assert_eq!(count(Some("third-party-transport")), 1);
        assert_eq!(count(None), 4);
    }
}
