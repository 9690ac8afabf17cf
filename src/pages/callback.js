(function () {
  "use strict";
  var answer = new URLSearchParams(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
  if (!answer.get("state")) {
    document.getElementById("busy").hidden = true;
    document.getElementById("idle").hidden = false;
    return;
  }
  var form = document.getElementById("hand-over");
  ["access_token", "expires_in", "state", "error", "iss"].forEach(function (name) {
    answer.getAll(name).forEach(function (value) {
      var field = document.createElement("input");
      field.type = "hidden";
      field.name = name;
      field.value = value;
      form.appendChild(field);
    });
  });
  form.submit();
})();
