// Calls to the agent. An answer that is not one becomes an Error with the agent's own sentence.

export async function ask(call, parameters, signal) {
  const response = await fetch(address(call, parameters), { signal });
  if (!response.ok) throw new Error(await complaint(response));
  return response;
}

export async function askJson(call, parameters, signal) {
  return (await ask(call, parameters, signal)).json();
}

export function address(call, parameters) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  return `api/${call}?${query}`;
}

async function complaint(response) {
  try {
    return (await response.json()).error;
  } catch {
    return `the agent answered ${response.status}`;
  }
}
