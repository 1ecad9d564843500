use super::*;

#[test]
fn a_program_name_with_brackets_and_spaces_does_not_shift_the_fields() {
    let line = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 5 0 987654 1 1";
    let stat = ProcessStat::parse(line).unwrap();
    let wanted = ProcessStat {
        state: 'S',
        threads: 5,
        start_ticks: 987_654,
    };
    assert_eq!(stat, wanted);
    assert_eq!(ProcessStat::parse("nonsense"), None);
}

#[test]
fn an_ended_process_holds_its_ports_until_its_last_thread_is_gone() {
    let ended = |threads| ProcessStat {
        state: 'Z',
        threads,
        start_ticks: 1,
    };
    assert!(ended(7).has_ended() && !ended(7).has_released_all());
    assert!(ended(1).has_released_all());
}

#[test]
fn a_pid_used_again_is_not_taken_for_our_process() {
    let own = Identity::of(std::process::id()).unwrap();
    assert!(own.is_alive());
    let earlier = Identity {
        start_ticks: own.start_ticks - 1,
        ..own.clone()
    };
    assert!(!earlier.is_alive());
    let other_boot = Identity {
        boot_id: "another".to_owned(),
        ..own
    };
    assert!(!other_boot.is_alive());
}

#[test]
fn the_marks_are_found_in_an_environment() {
    let environ = b"PATH=/bin\0CARTWRIGHT_STACK=/a b/.cartwright\0CARTWRIGHT_PART=kafka\0";
    let found = marks(environ).unwrap();
    assert_eq!(found, ("/a b/.cartwright".to_owned(), "kafka".to_owned()));
    assert_eq!(marks(b"PATH=/bin\0"), None);
}

#[tokio::test]
async fn a_part_holds_nothing_of_its_callers_open() {
    let (pipe, _writer) = std::io::pipe().unwrap();
    rustix::io::fcntl_setfd(&pipe, rustix::io::FdFlags::empty()).unwrap();
    let folder = std::env::temp_dir().join(format!("cartwright-alone-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let launch = Launch {
        command: vec!["sleep".to_owned(), "600".to_owned()],
        env: Vec::new(),
        cwd: folder.clone(),
    };
    let (log, pid_file) = (folder.join("log"), folder.join("pid"));
    let part = spawn(Part::Kafka, &launch, &folder, &log, &pid_file).unwrap();
    let comm = || fs::read_to_string(format!("/proc/{}/comm", part.pid)).unwrap();
    let open = || {
        let open = fs::read_dir(format!("/proc/{}/fd", part.pid)).unwrap();
        let mut open: Vec<_> = open.filter_map(|fd| Some(fd.ok()?.file_name())).collect();
        open.sort();
        open
    };
    // A program that has just begun opens its libraries for a moment.
    let begun = Instant::now();
    while comm().trim() != "sleep" || open() != ["0", "1", "2"] {
        let held = open();
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{}: {held:?}",
            comm()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    part.stop(Signal::TERM, Duration::from_secs(60)).await;
    assert!(!part.is_alive());
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_process_that_ignores_the_request_is_killed() {
    let mut child = tokio::process::Command::new("sh")
        .args([
            "-c",
            "trap '' TERM; echo ready; while :; do sleep 0.1; done",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    let mut stdout = child.stdout.take().unwrap();
    tokio::io::AsyncReadExt::read_exact(&mut stdout, &mut ready)
        .await
        .unwrap();
    let identity = Identity::of(child.id().unwrap()).unwrap();
    assert!(
        identity
            .stop(Signal::TERM, Duration::from_millis(100))
            .await
    );
    assert!(!identity.is_alive());
}
