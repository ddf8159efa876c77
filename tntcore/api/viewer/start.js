window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#ui",
  docExpansion: "none",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  persistAuthorization: false,
  tryItOutEnabled: true,
  validatorUrl: null,
});
