"""Two tasks of hybrid-cache as steps of one Workflow, written with Hera.

Prints a Workflow as YAML. It needs no cluster and no Argo server:

    pip install 'hera[yaml]==7.1.0'
    python docs/examples/hera_task.py | kubectl --namespace argo create --filename -

Each step refers to the WorkflowTemplate `hybrid-cache-task` of manifests/argo-task.yaml.
"""

import json

from hera.workflows import Step, Steps, Workflow
from hera.workflows.models import Arguments, Parameter, TemplateRef, TTLStrategy

TEMPLATE = TemplateRef(name="hybrid-cache-task", template="task")


def task(code: str, *, python: str = "", system: str = "") -> Arguments:
    """The arguments of one task: its code, and packages as comma-separated lists.

    Argo replaces `{{...}}` in every argument. JSON has another way to write a brace, so no code is changed.
    """
    request = {"pythonCode": code, "dependencies": python, "systemDependencies": system}
    text = json.dumps(request).replace("{{", "{\\u007b")
    return Arguments(parameters=[Parameter(name="task", value=text)])


def workflow() -> Workflow:
    """First numpy, then gcc; the second step starts if the first one's program exits with 0."""
    with Workflow(
        generate_name="hybrid-cache-example-",
        namespace="argo",
        entrypoint="steps",
        archive_logs=False,
        ttl_strategy=TTLStrategy(seconds_after_completion=3600),
    ) as made:
        with Steps(name="steps"):
            Step(
                name="numbers",
                template_ref=TEMPLATE,
                arguments=task("import numpy\nprint(f'{{sum}}: {numpy.arange(5).sum()}')", python="numpy"),
            )
            Step(
                name="compiler",
                template_ref=TEMPLATE,
                arguments=task("import subprocess\nsubprocess.run(['gcc', '--version'], check=True)", system="gcc"),
            )
    return made


if __name__ == "__main__":
    print(workflow().to_yaml())
