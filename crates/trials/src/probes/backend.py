import zipfile
def wheel(path, name, version, module):
    "Writes a wheel of one module."
    info = f"{name}-{version}.dist-info"
    files = {f"{name}.py": module,
             f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
             f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: trial\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in files.items():
            archive.writestr(inside, text)
def get_requires_for_build_wheel(config_settings=None):
    return []
def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = KNOWN["name"]
    if "attack" in globals():
        attack(name)
    file = f"{name}-1.0-py3-none-any.whl"
    wheel(os.path.join(folder, file), name, "1.0", f"FOUND = {json.dumps({'tried': tried, 'got': got})}\n")
    return file
