use crate::helpers::{Place, code};
use muster_sandbox::oci::container::{ExecIo, ExecSpec, Exit, ExitStatus};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(crate) fn sh(script: &str) -> ExecSpec {
    let args = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    ExecSpec { args, ..ExecSpec::default() }
}

/// What the process wrote on its standard output, given this input, and how it ended.
pub(crate) async fn talk(
    container: &muster_sandbox::oci::container::Container,
    spec: &ExecSpec,
    input: &[u8],
) -> (Exit, String) {
    let mut exec = container.exec(spec).await.unwrap();
    let Some(ExecIo::Pipes { mut stdin, mut stdout, stderr: _ }) = exec.take_io() else { panic!() };
    stdin.write_all(input).await.unwrap();
    drop(stdin);
    let mut text = String::new();
    stdout.read_to_string(&mut text).await.unwrap();
    (exec.wait().await.unwrap(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_more_process_has_pipes_a_code_and_the_same_confinement() {
    let Some(place) = Place::open().await else { return };
    let mut spec = place.spec("host", "exec sleep 1000");
    spec.env = vec![("A".into(), "1".into())];
    let container = place.all.create(&spec).await.unwrap();
    container.start().await.unwrap();
    let (exit, text) = talk(&container, &sh("cat; exit 4"), b"through").await;
    assert_eq!((code(&exit), text.as_str()), (4, "through"));
    let mut asked =
        sh("echo $A $B $(id -u) $(pwd); grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status");
    asked.env = vec![("B".into(), "2".into())];
    asked.user = Some("web".into());
    asked.working_dir = Some("/tmp".into());
    let (_, text) = talk(&container, &asked, b"").await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        ["1 2 33 /tmp", "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"]
    );
    let (exit, _) = talk(&container, &sh("kill -9 $$"), b"").await;
    assert_eq!(exit.status, ExitStatus::Signal(9));
    let missing = ExecSpec { args: vec!["/bin/none".into()], ..ExecSpec::default() };
    let mut exec = container.exec(&missing).await.unwrap();
    let exit = exec.wait().await.unwrap();
    assert!(
        matches!(&exit.status, ExitStatus::NotStarted(said) if said.contains("/bin/none")),
        "{exit:?}"
    );
    place.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_has_a_size_that_can_change_and_ends_with_its_process() {
    let Some(place) = Place::open().await else { return };
    let container = place.all.create(&place.spec("tty", "exec sleep 1000")).await.unwrap();
    container.start().await.unwrap();
    let mut asked = sh("stty -echo; stty size; read line; stty size; echo got $line; exit 5");
    asked.terminal = Some((120, 40));
    let mut exec = container.exec(&asked).await.unwrap();
    let Some(ExecIo::Terminal(mut terminal)) = exec.take_io() else { panic!() };
    let mut text = String::new();
    let mut buffer = [0; 256];
    while !text.contains("40 120\r\n") {
        let count = terminal.read(&mut buffer).await.unwrap();
        assert_ne!(count, 0, "{text}");
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    terminal.resize(80, 24).unwrap();
    terminal.write_all(b"word\n").await.unwrap();
    terminal.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("24 80\r\n") && text.ends_with("got word\r\n"), "{text:?}");
    assert_eq!(code(&exec.wait().await.unwrap()), 5);
    let mut missing = ExecSpec { args: vec!["/bin/none".into()], ..ExecSpec::default() };
    missing.terminal = Some((80, 24));
    let exit = container.exec(&missing).await.unwrap().wait().await.unwrap();
    assert!(
        matches!(&exit.status, ExitStatus::NotStarted(said) if said.contains("/bin/none")),
        "{exit:?}"
    );
    place.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_caller_is_gone_is_killed() {
    let Some(place) = Place::open().await else { return };
    let container = place.all.create(&place.spec("gone", "exec sleep 1000")).await.unwrap();
    container.start().await.unwrap();
    let mut exec = container.exec(&sh("echo up; exec sleep 1000")).await.unwrap();
    let Some(ExecIo::Pipes { mut stdout, .. }) = exec.take_io() else { panic!() };
    let mut up = [0; 3];
    stdout.read_exact(&mut up).await.unwrap();
    assert_eq!(container.stats().unwrap().usage.pids, 2);
    drop(exec);
    crate::helpers::wait_until("it is alone", || container.stats().unwrap().usage.pids == 1).await;
    place.close().await;
}
