//! Traces in the form of the public one: written, read and run.

use std::fs;
use std::path::Path;

use chasen_entity::ByteSize;
use chasen_simulator::azure::{Azure, Selection, Synthetic};
use chasen_simulator::trace::{Call, SECOND, Trace};

use crate::histories::answer;

fn selection() -> Selection {
    Selection { day: 1, minutes: 0..1440, share: 1.0, most_memory: ByteSize::mb(8192), seed: 1 }
}

fn written(folder: &Path) {
    Synthetic { applications: 60, day: 1, calls: 10.0, seed: 3 }.write(folder).unwrap();
}

fn read(folder: &Path, selection: &Selection) -> Result<Azure, String> {
    let shown = format!("{}/", folder.display());
    Azure::read(folder, selection).map_err(|error| error.to_string().replace(&shown, ""))
}

#[test]
fn a_made_up_day_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path());
    let trace = read(folder.path(), &selection()).unwrap();
    let table = fs::read_to_string(folder.path().join("invocations_per_function_md.anon.d01.csv")).unwrap();
    let counts = table.lines().skip(1).flat_map(|line| line.split(',').skip(4));
    let calls: u64 = counts.map(|count| count.parse::<u64>().unwrap()).sum();
    assert_eq!(trace.expected(), calls);
    assert_eq!(trace.actions().len(), table.lines().count() - 1);
    let all: Vec<Call> = trace.calls().collect();
    assert_eq!(all.len() as u64, calls);
    assert!(all.is_sorted_by_key(|call| call.at));
    assert!(all.iter().all(|call| call.service > 0 && call.service <= 300 * SECOND));
    assert!(all.iter().copied().eq(trace.calls()), "as often as one likes");

    let mut popular = vec![0u64; trace.actions().len()];
    for call in &all {
        popular[call.action] += 1;
    }
    popular.sort_unstable();
    let tenth: u64 = popular.iter().rev().take(popular.len() / 10).sum();
    assert!(tenth * 10 > calls * 6, "the tail is heavy: {tenth} of {calls}");
    assert!(
        trace.actions().iter().any(|action| action.blocking) && !trace.actions().iter().all(|a| a.blocking)
    );
}

#[test]
fn a_part_of_a_day_can_be_taken() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path());
    let whole = read(folder.path(), &selection()).unwrap();
    let morning = read(folder.path(), &Selection { minutes: 480..540, ..selection() }).unwrap();
    assert_eq!(morning.length(), 3600 * SECOND);
    let expected =
        whole.calls().filter(|call| (480 * 60 * SECOND..540 * 60 * SECOND).contains(&call.at)).count();
    assert_eq!(morning.calls().count(), expected);
    let some = read(folder.path(), &Selection { share: 0.3, ..selection() }).unwrap();
    assert!(some.actions().len() < whole.actions().len() * 2 / 3);
    assert!(some.actions().iter().all(|action| whole.actions().contains(action)));
    let error = read(folder.path(), &Selection { share: 0.0, ..selection() }).unwrap_err();
    assert_eq!(error, "invocations_per_function_md.anon.d01.csv: nothing is called in the selected minutes");
}

#[test]
fn tables_that_miss_rows_or_are_not_there() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path());
    let [invocations, durations, memory] =
        ["invocations_per_function_md", "function_durations_percentiles", "app_memory_percentiles"]
            .map(|name| folder.path().join(format!("{name}.anon.d01.csv")));
    // Days 13 and 14 of the public trace have no memory: that of an earlier day does.
    for table in [&invocations, &durations] {
        fs::copy(table, table.to_str().unwrap().replace("d01", "d02")).unwrap();
    }
    let second = read(folder.path(), &Selection { day: 2, ..selection() }).unwrap();
    let first = read(folder.path(), &selection()).unwrap();
    assert_eq!(first.actions(), second.actions());

    fs::remove_file(&memory).unwrap();
    let without = read(folder.path(), &selection()).unwrap();
    assert!(without.actions().iter().all(|action| action.memory == ByteSize::mb(256)));

    let header = fs::read_to_string(&durations).unwrap().lines().next().unwrap().to_owned();
    fs::write(&durations, &header).unwrap();
    let error = read(folder.path(), &selection()).unwrap_err();
    assert_eq!(error, "day 1: the table of durations has no rows");

    fs::write(&durations, header.replace("Minimum", "Least")).unwrap();
    let error = read(folder.path(), &selection()).unwrap_err();
    assert_eq!(
        error,
        "function_durations_percentiles.anon.d01.csv:1: there is no column 'Minimum' in the first line"
    );

    fs::remove_file(&invocations).unwrap();
    fs::write(&durations, header).unwrap();
    let error = read(folder.path(), &selection()).unwrap_err();
    assert!(error.starts_with("invocations_per_function_md.anon.d01.csv: "), "{error}");
}

#[test]
fn wrong_rows_are_told_with_their_line() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path());
    let path = folder.path().join("invocations_per_function_md.anon.d01.csv");
    let good = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<&str> = good.lines().collect();
    let short = "o,a,f,http,1,2,3";
    lines.insert(3, short);
    fs::write(&path, lines.join("\n")).unwrap();
    assert_eq!(
        read(folder.path(), &selection()).unwrap_err(),
        "invocations_per_function_md.anon.d01.csv:4: 7 values; the first line names 1444 columns"
    );
    let many = format!("o,a,f,http{}", ",999999999".repeat(1440));
    lines[3] = &many;
    fs::write(&path, lines.join("\n")).unwrap();
    assert_eq!(
        read(folder.path(), &selection()).unwrap_err(),
        "invocations_per_function_md.anon.d01.csv: a minute has more than 20000000 calls; take a smaller share of its \
         applications or fewer minutes"
    );
}

#[test]
fn a_day_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let text = answer(&format!("--write-azure {path} --applications 40 --seed 9"));
    assert_eq!(text, format!("wrote day 1 of 40 applications to {path}\n"));
    let words = format!("--azure {path} --minutes 600..620 --nodes 2x4GB --check-every 10");
    let text = answer(&words);
    assert!(text.contains("azure day 1, seed 1"), "{text}");
    assert_eq!(text, answer(&words));
}
