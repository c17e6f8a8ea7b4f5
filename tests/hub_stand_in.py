"""A Hugging Face Hub on this machine that keeps its repositories in memory."""

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class Hub(ThreadingHTTPServer):
    """Repositories in memory: name to list of commits, each a dict of file name to bytes."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos, self.asked = {}, []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format, *args):
        pass

    def answer(self, content, status=200, headers=()):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def files(self, repo):
        commits = self.server.repos.get(repo)
        if commits is None:
            self.answer({"error": "Repository not found"}, 404, [("X-Error-Code", "RepoNotFound")])
        return commits and commits[-1]

    def do_POST(self):
        path = urlsplit(self.path).path
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(("POST", path))
        if self.headers.get("Authorization") != "Bearer secret":
            self.answer({"error": "Invalid credentials"}, 401)
        elif path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked.get('organization') or 'me'}/{asked['name'].rpartition('/')[2]}"
            self.server.repos.setdefault(repo, [{".gitattributes": b"*.keras filter=lfs\n"}])
            self.answer({"url": f"{self.server.url}/{repo}", "name": repo, "id": "1"})
        elif found := re.fullmatch(r"/api/models/(.+)/preupload/main", path):
            files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                     for f in json.loads(body)["files"]]  # fmt: skip
            self.answer({"files": files})
        elif found := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            files = dict(self.files(found[1]))
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    assert value["encoding"] == "base64"
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "deletedFile":
                    del files[value["path"]]
            self.server.repos[found[1]].append(files)
            oid = f"{len(self.server.repos[found[1]]):040x}"
            self.answer({"commitUrl": f"{self.server.url}/{found[1]}/commit/{oid}", "commitOid": oid})
        else:
            self.answer({"valid": True, "errors": [], "warnings": []})

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append((self.command, path))
        if found := re.fullmatch(r"/api/models/(.+?)(?:/revision/(.+))?", path):
            repo = re.sub(r"/tree/.*", "", found[1])
            files = self.files(repo)
            if not files:
                return
            if "/tree/" in path:
                self.answer([{"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                             for name, data in files.items()])  # fmt: skip
            elif found[2] not in (None, "main"):
                self.answer({"error": "no such revision"}, 404, [("X-Error-Code", "RevisionNotFound")])
            else:
                oid = f"{len(self.server.repos[repo]):040x}"
                siblings = [{"rfilename": name} for name in files]
                self.answer({"id": repo, "modelId": repo, "sha": oid, "private": False, "siblings": siblings})
        elif found := re.fullmatch(r"/(.+?)/resolve/(\w+)/(.+)", path):
            files = self.files(found[1])
            data = files[found[3]]
            oid = f"{len(self.server.repos[found[1]]):040x}"
            self.answer(
                data, headers=[("ETag", f'"{hashlib.sha1(data).hexdigest()}"'), ("X-Repo-Commit", oid)]
            )
        else:
            self.answer({"error": "not here"}, 404)

    do_HEAD = do_GET
