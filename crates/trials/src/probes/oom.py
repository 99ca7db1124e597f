# The kernel ends what has the highest score first.
def score():
    own = int(open("/proc/self/oom_score_adj").read())
    return f"oom_score_adj {own}" if own < KNOWN["least"] else False
attempt(f"run with a score below {KNOWN['least']}", score)
def lower():
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("0")
    return True
attempt("lower its own score", lower)
