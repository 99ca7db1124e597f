//! What a program gets beside its text: arguments, variables, standard input.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers as well")]

#[expect(dead_code, reason = "each test binary uses its own part of the harness")]
mod run_harness;

use hybrid_cache_model::End;
use run_harness::Case;

#[test]
fn a_program_gets_its_arguments_variables_and_input() {
    let code = "\
import os, sys
print(sys.argv[1:])
print(os.environ['OPEN'], os.environ['TOKEN'], os.environ['OMP_NUM_THREADS'], os.environ['OPERATORS'])
print(sys.stdin.readline().strip(), repr(sys.stdin.read()))
";
    let case = Case::new(code).change(|request| {
        request.variables.push(("OPERATORS".to_owned(), "default".to_owned()));
        request.variables.push(("TOKEN".to_owned(), "default".to_owned()));
        let task = &mut request.task;
        task.args = ["-v", "", "a b", "ü"].map(str::to_owned).into();
        task.stdin = "first\nsecond ü\0".to_owned();
        task.env.insert("OPEN".to_owned(), "line 1\nline 2".to_owned());
        task.env.insert("OMP_NUM_THREADS".to_owned(), "3".to_owned());
        task.secret_env.insert("TOKEN", "hush");
    });
    let ran = case.run();
    assert_eq!(*ran.end(), End::Exited { code: 0 }, "{}", ran.stderr);
    let expected = "['-v', '', 'a b', 'ü']\nline 1\nline 2 hush 3 default\nfirst 'second ü\\x00'\n";
    assert_eq!(ran.text(), expected.trim_end());
    let report = serde_json::to_string(&ran.report).unwrap();
    assert!(!report.contains("hush"), "{report}");
}

#[test]
fn a_mebibyte_of_input_is_read_as_often_as_wanted_and_cannot_be_changed() {
    let code = "\
import os, sys
for _ in range(2):
    with open('/dev/stdin') as again:
        print(len(again.read()))
try:
    os.write(0, b'x')
except OSError:
    print('sealed')
";
    let set = |case: Case| case.change(|request| request.task.stdin = "x".repeat(1 << 20));
    let expected = "1048576\n1048576\nsealed";
    assert_eq!(set(Case::new(code)).run().text(), expected);
    if let Some(case) = Case::new(code).run_by_nobody() {
        let ran = set(case).run();
        assert_eq!(ran.text(), expected, "{}", ran.stderr);
    }
}

#[test]
fn a_variable_of_the_runner_is_refused_and_one_of_the_loader_changes_only_the_program() {
    let path = Case::new("1").change(|request| drop(request.task.env.insert("PATH".to_owned(), String::new())));
    let ran = path.run();
    assert!(
        matches!(ran.end(), End::Failed { failure } if failure.message.contains("`PATH`")),
        "{:?}",
        ran.report
    );
    let code = "import os; print(os.environ['LD_PRELOAD'])";
    let loader = Case::new(code).change(|request| {
        request
            .task
            .env
            .insert("LD_PRELOAD".to_owned(), "/no/such/library.so".to_owned());
    });
    let ran = loader.run();
    assert_eq!(*ran.end(), End::Exited { code: 0 });
    assert_eq!(ran.text(), "/no/such/library.so");
}
